"""Expanding sweeps to their runs, and recording these in the folder of outputs so that they are composed only once."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from src.config.command import command_line
from src.launch.compose import sweep_jobs
from src.launch.program import PROGRAMS, program_of_sweep
from src.utils import paths
from src.utils.files import read_json, write_json


@dataclass(frozen=True)
class SweepRecord:
    """The runs of `python -m <program> -m <arguments>`."""

    program: str  # src.run or src.linear
    arguments: list[str]
    runs: dict[str, list[str]]  # the name of each run's folder, and the overrides that make it
    launched: bool  # whether the sweep was launched, or only expanded to show its state
    version: str  # of the configuration files and the schema

    @property
    def command(self) -> str:
        """The command that launches the sweep."""
        return command_line(self.program, self.arguments, ["-m"])


def expand_sweep(program: str, arguments: list[str], outputs: Path) -> SweepRecord:
    """Return the runs of a sweep; they are composed only if there is no record of the current configuration files."""
    earlier = load_record(program, arguments, outputs)
    if earlier is not None and earlier.version == config_version():
        return earlier
    launched = earlier is not None and earlier.launched
    runs = _compose_runs(program, arguments)
    record = SweepRecord(program, arguments, runs, launched=launched, version=config_version())
    if outputs.is_dir():
        save_record(record, outputs)
    return record


def recorded_sweeps(outputs: Path) -> list[SweepRecord]:
    """Return the records of all sweeps that were launched with this folder of outputs."""
    records = [_record_from(read_json(file)) for file in sorted((outputs / ".sweeps").glob("*.json"))]
    return [record for record in records if record.launched]


def labelled_sweeps(outputs: Path) -> list[tuple[str, SweepRecord]]:
    """Return all sweeps that were launched, and each file of sweeps/ that was not.

    Returns:
        The name of the file of sweeps/ with each sweep of it, in natural order; then those of no file, with "".
    """
    launched = [expand_sweep(record.program, record.arguments, outputs) for record in recorded_sweeps(outputs)]
    sweeps = []
    for name in sorted((file.stem for file in paths.SWEEPS.glob("*.yaml")), key=_natural_order):
        argument = f"sweeps={name}"
        records = [record for record in launched if argument in record.arguments]
        launched = [record for record in launched if record not in records]
        records = records or [expand_sweep(program_of_sweep(name), [argument], outputs)]
        sweeps += [(name, record) for record in records]
    return sweeps + [("", record) for record in launched]


def run_command(program: str, overrides: list[str]) -> str:
    """Return the command that makes one run of a sweep without SLURM."""
    return command_line(program, [word for word in overrides if not word.startswith(("sweeps=", "slurm="))])


def load_record(program: str, arguments: list[str], outputs: Path) -> SweepRecord | None:
    """Return the record of a sweep, perhaps of other configuration files; None if there is none."""
    content = read_json(_file(outputs, program, arguments))
    return None if content is None else _record_from(content)


def save_record(record: SweepRecord, outputs: Path) -> None:
    """Record a sweep in a folder of outputs."""
    file = _file(outputs, record.program, record.arguments)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, asdict(record))


def config_version() -> str:
    """Return a digest of all files that decide which runs a sweep has."""
    files = [*paths.CONF.rglob("*.yaml"), *paths.SWEEPS.glob("*.yaml"), *(paths.SRC / "config").glob("*.py")]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:10]


def _record_from(content: dict[str, Any]) -> SweepRecord:
    # Version 0.1 wrote `made`, and each run's overrides as one text; its runs are composed again.
    launched = content.get("launched", content.get("made", False))
    version = content["version"]
    return SweepRecord(content["program"], content["arguments"], content["runs"], launched=launched, version=version)


def _compose_runs(program: str, arguments: list[str]) -> dict[str, list[str]]:
    from src.launch.hydra_setup import register  # imported here, as it registers the sweeper, which imports this module

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


def _natural_order(name: str) -> list[tuple[str, int]]:
    """Return a key by which figure6 comes before figure10."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", name)]
