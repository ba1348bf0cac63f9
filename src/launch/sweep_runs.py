"""Which runs a sweep expands to, recorded in the folder of outputs so that nothing is composed twice to know it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from src.config.command import command_line
from src.launch.compose import sweep_jobs
from src.launch.program import PROGRAMS
from src.utils import paths
from src.utils.files import read_json, write_json


@dataclass(frozen=True)
class SweepRecord:
    """What the arguments of `python -m <program> -m` ask for."""

    program: str  # src.run or src.linear
    arguments: list[str]
    runs: dict[str, list[str]]  # the name of each run's folder, and the overrides that make it
    launched: bool  # whether somebody has launched the runs, or only asked for their states
    version: str  # of the configuration files and the schema

    @property
    def command(self) -> str:
        """The command line that makes the runs."""
        return command_line(self.program, self.arguments, ["-m"])


def expand_sweep(program: str, arguments: list[str], outputs: Path) -> SweepRecord:
    """Return the runs that these arguments ask for; they are composed only if no current record tells them."""
    known = load_record(program, arguments, outputs)
    if known is not None and known.version == config_version():
        return known
    launched = known is not None and known.launched
    record = SweepRecord(program, arguments, _compose(program, arguments), launched, config_version())
    if outputs.is_dir():
        save_record(record, outputs)
    return record


def recorded_sweeps(outputs: Path) -> list[SweepRecord]:
    """Return all sweeps that were launched with their outputs in this folder."""
    records = [_record_from(read_json(file)) for file in sorted((outputs / ".sweeps").glob("*.json"))]
    return [record for record in records if record.launched]


def load_record(program: str, arguments: list[str], outputs: Path) -> SweepRecord | None:
    """Return what is recorded of these arguments, perhaps of other configuration files; None if nothing."""
    known = read_json(_file(outputs, program, arguments))
    return None if known is None else _record_from(known)


def save_record(record: SweepRecord, outputs: Path) -> None:
    """Record a sweep in a folder of outputs."""
    file = _file(outputs, record.program, record.arguments)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, asdict(record))


def config_version() -> str:
    """Return a digest of all that decides which runs some arguments ask for."""
    files = [*paths.CONF.rglob("*.yaml"), *paths.SWEEPS.glob("*.yaml"), *(paths.SRC / "config").glob("*.py")]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:10]


def _record_from(known: dict) -> SweepRecord:
    # Version 0.1 wrote `made`, and each run's overrides as one text; its runs are composed again.
    launched = known.get("launched", known.get("made", False))
    return SweepRecord(known["program"], known["arguments"], known["runs"], launched, known["version"])


def _compose(program: str, arguments: list[str]) -> dict[str, list[str]]:
    from src.launch.hydra_setup import register  # which registers the sweeper, which uses this module

    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration(PROGRAMS[program].config_name, arguments, RunMode.MULTIRUN)
        _, jobs = sweep_jobs(loader, master, list(master.hydra.overrides.task))
    return {job.directory.name: job.overrides for job in jobs}


def _file(outputs: Path, program: str, arguments: list[str]) -> Path:
    digest = hashlib.sha256(json.dumps([program, *arguments]).encode()).hexdigest()[:10]
    return outputs / ".sweeps" / f"{digest}.json"
