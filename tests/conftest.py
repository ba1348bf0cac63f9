import os

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported: several test processes share the cores

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from src.data.shapes import ensure_shapes
from tests.support.cluster import cluster, short_directory, slurm_programs
from tests.support.runs import NOT_LOGGED, TINY, run_here

__all__ = ["cluster", "short_directory", "slurm_programs"]  # fixtures

# Files that take minutes, or wait, are started first, so that no process is left with one of them at the end.
FIRST = [
    "launch/test_sweeps_on_slurm.py",
    "test_run.py",
    "benchmarks/test_gpu_script.py",
    "faults/",
    "slurm/",
    "losses/test_process_group.py",
    "test_sync.py",
    "training/",
    "analysis/reading/test_server.py",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--exhaustive", action="store_true", help="try many random problems where a few are the default")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--exhaustive"):
        os.environ["EXHAUSTIVE"] = "1"  # which tests.support.exhaustive reads as test modules are imported


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests on the private SLURM, and put long files first."""
    for item in items:
        if "cluster" in item.fixturenames:
            item.add_marker("slurm")
    items.sort(key=_order)


def _order(item: pytest.Item) -> int:
    file = item.path.relative_to(Path(__file__).parent).as_posix()
    return next((number for number, name in enumerate(FIRST) if file.startswith(name)), len(FIRST))


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirteen training and four test images of the built-in set, as a folder in VOC layout."""
    root = tmp_path_factory.mktemp("data") / "tiny"
    return ensure_shapes(root, counts={"train": 12, "val": 1, "test": 4}, processes=1)


@pytest.fixture
def tiny(tiny_data: Path, tmp_path: Path) -> list[str]:
    """The overrides of a run of seconds, whose outputs are in this test's `tmp_path / "outputs"`."""
    return [*TINY, f"dataset.root={tiny_data}", f"outputs={tmp_path / 'outputs'}"]


@pytest.fixture(scope="session")
def undisturbed(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function of overrides that returns the folder of a finished run with them, which is made once. Read only."""
    outputs = tmp_path_factory.mktemp("undisturbed")

    def make(*overrides: str) -> Path:
        return run_here(*TINY, f"dataset.root={tiny_data}", *overrides, f"outputs={outputs}", *NOT_LOGGED)

    return make


@pytest.fixture
def finished(tiny, tmp_path, undisturbed) -> Path:
    """The folder of a finished run of `tiny`, to be changed."""
    twin = undisturbed()
    return Path(shutil.copytree(twin, tmp_path / "outputs" / twin.name))
