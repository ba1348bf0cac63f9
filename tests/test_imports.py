"""Imports run one way: a package imports only packages below it, so there are no cycles."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from src.utils import paths

# From the bottom up; packages on one level do not import each other. docs/design.md says what each is for.
LEVELS = {
    "src": [
        {"utils"},
        {"losses", "config", "runs", "data"},
        {"detectors"},
        {"evaluation", "robustness"},
        {"training", "launch"},
        {"costs", "run", "inspect", "status", "submit", "sync", "linear", "__main__"},
    ],
    "analysis": [{"paper"}, {"reading"}, {"artefacts"}, {"claims", "report"}, {"__main__"}],
}
# What the analysis may use of src: what a run is called and logged like, not what it computes.
OPEN_TO_ANALYSIS = {"utils", "config", "runs", "losses"}
FILES = [file for package in LEVELS for file in sorted((paths.ROOT / package).rglob("*.py"))]


def place(module: str) -> tuple[str, str]:
    """The top-level package of a module and the one in it: ("src", "data") for src.data.voc."""
    package, _, rest = module.partition(".")
    return package, rest.partition(".")[0]


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(paths.ROOT).with_suffix("").parts)


def imports_of(file: Path) -> set[str]:
    """All modules that a file imports, inside functions too, by their absolute names."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = module_of(file).split(".")[: -node.level] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def level(package: str, part: str) -> int:
    return next(number for number, parts in enumerate(LEVELS[package]) if part in parts)


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_a_file_imports_only_packages_below_its_own(file):
    package, part = place(module_of(file))
    for imported in imports_of(file):
        other_package, other_part = place(imported)
        assert not (package == "src" and other_package in ("analysis", "tests", "benchmarks", "slurm")), imported
        if package == "analysis" and other_package == "src":
            assert other_part in OPEN_TO_ANALYSIS, imported
        elif other_package == package and other_part != part and part != "__init__":
            assert level(package, other_part) < level(package, part), imported


def test_no_file_imports_itself_by_way_of_others():
    modules = {module_of(file).removesuffix(".__init__") for file in FILES}
    graph = {}
    for file in FILES:
        names = {name if name in modules else name.rpartition(".")[0] for name in imports_of(file)}
        graph[module_of(file).removesuffix(".__init__")] = names & modules
    TopologicalSorter(graph).prepare()  # raises a CycleError, which names the circle


def test_every_folder_has_a_level():
    for package, levels in LEVELS.items():
        folders = {path.name for path in (paths.ROOT / package).iterdir() if any(path.glob("*.py"))}
        assert folders <= set().union(*levels)


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_only_one_file_derives_a_path_from_its_own(file):
    derived = [node for node in ast.walk(ast.parse(file.read_text())) if getattr(node, "id", "") == "__file__"]
    assert not derived or file in (paths.SRC / "utils/paths.py", paths.SRC / "launch/slurm_job.py")
