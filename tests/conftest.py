import os
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from src.config.validate import resolve
from src.data.shapes import ensure_shapes
from src.launch.hydra_setup import register
from src.utils import paths

ROOT = paths.ROOT
# A few seconds: tiny images, a tiny pyramid, two epochs of three steps.
TINY = [
    "recipe=folder",
    "dataset.train_size=64",
    "model.channels=8",
    "schedule.epochs=2",
    "schedule.evaluate_every=1",
    "batch_size=4",
    "workers=0",
    "images_logged=2",
]


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """Thirteen training and four test images of the built-in set, as a folder in VOC layout."""
    root = tmp_path_factory.mktemp("data") / "tiny"
    return ensure_shapes(root, counts={"train": 12, "val": 1, "test": 4}, processes=1)


@pytest.fixture
def tiny(tiny_data, tmp_path):
    """The overrides of a run of seconds, with outputs of its own."""
    return [*TINY, f"dataset.root={tiny_data}", f"outputs={tmp_path / 'outputs'}"]


def make_config(*overrides: str):
    """The configuration as the command line composes it."""
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        return compose("config", list(overrides))


def run_here(*overrides: str):
    """Run these overrides in this process, as `python -m src.run` does in one of its own; return the run's folder."""
    from src.run import run

    return run(resolve(make_config(*overrides), overrides))


def own_environment() -> dict[str, str]:
    """For a process that logs as if nobody else did: W&B's service is otherwise that of the tests, and outlives it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}


def start(*overrides: str, **environment: str) -> subprocess.Popen:
    """`python -m src.run` with these overrides, as a user would start it."""
    return subprocess.Popen(
        [sys.executable, "-m", "src.run", *overrides],
        cwd=paths.ROOT,
        env=own_environment() | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def call(*overrides: str) -> tuple[int, str]:
    """Exit code and output of `python -m src.run` with these overrides."""
    process = start(*overrides)
    output, _ = process.communicate(timeout=600)
    return process.returncode, output
