"""Which runs a sweep has: by its arguments, without composing anew what has been composed before."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from src import config, linear_config
from src.files import read_json, write_json
from src.sweep import Job, sweep_jobs

ROOT = Path(__file__).parent.parent
CONFIG_NAMES = {"src.run": "config", "src.linear": "linear"}


@dataclass(frozen=True)
class Asked:
    """What the arguments of `python -m <program> -m` ask for."""

    program: str  # src.run or src.linear
    arguments: list[str]
    runs: dict[str, str]  # the name of each run's folder, and the overrides that make it
    made: bool  # whether somebody has asked for the runs themselves, or only how far they are
    version: str  # of the configuration files and the schema

    @property
    def command(self) -> str:
        return " ".join(["python -m", self.program, "-m", *self.arguments])


def find_runs(program: str, arguments: list[str], outputs: Path) -> Asked:
    """The runs that these arguments ask for."""
    file = _file(outputs, program, arguments)
    known = read_json(file)
    if known is not None and known["version"] == _version():
        return Asked(**known)
    asked = _compose(program, arguments, known is not None and known["made"])
    if outputs.is_dir():
        _write(file, asked)
    return asked


def note_sweep(program: str, arguments: list[str], jobs: list[Job], outputs: Path) -> None:
    """Remembers that the runs of a sweep have been asked for."""
    runs = {job.directory.name: " ".join(job.overrides) for job in jobs}
    _write(_file(outputs, program, arguments), Asked(program, arguments, runs, True, _version()))


def sweeps_made(outputs: Path) -> list[Asked]:
    """All sweeps that have been asked for, with their outputs in this folder."""
    known = [read_json(file) for file in sorted((outputs / ".sweeps").glob("*.json"))]
    return [find_runs(one["program"], one["arguments"], outputs) for one in known if one["made"]]


def _compose(program: str, arguments: list[str], made: bool) -> Asked:
    config.register()
    linear_config.register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        searchpath = f"hydra.searchpath=[file://{ROOT}]"
        name = CONFIG_NAMES[program]
        master = loader.load_configuration(name, [searchpath, *arguments], RunMode.MULTIRUN)
        _, jobs = sweep_jobs(loader, master, list(master.hydra.overrides.task))
    return Asked(program, arguments, {job.directory.name: " ".join(job.overrides) for job in jobs}, made, _version())


def _file(outputs: Path, program: str, arguments: list[str]) -> Path:
    digest = hashlib.sha256(json.dumps([program, *arguments]).encode()).hexdigest()[:10]
    return outputs / ".sweeps" / f"{digest}.json"


def _write(file: Path, asked: Asked) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, asdict(asked))


def _version() -> str:
    """Of all that decides which runs some arguments ask for."""
    files = [*ROOT.glob("conf/**/*.yaml"), *ROOT.glob("sweeps/*.yaml"), *ROOT.glob("src/*config.py")]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:10]
