"""Records of sweeps in the folder of outputs, by which their runs are known without composing them again."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from src.config.command import command_line
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


def recorded_sweeps(outputs: Path) -> list[SweepRecord]:
    """Return the records of all sweeps that were launched with this folder of outputs."""
    records = [_record_from(read_json(file)) for file in sorted((outputs / ".sweeps").glob("*.json"))]
    return [record for record in records if record.launched]


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


def _file(outputs: Path, program: str, arguments: list[str]) -> Path:
    digest = hashlib.sha256(json.dumps([program, *arguments]).encode()).hexdigest()[:10]
    return outputs / ".sweeps" / f"{digest}.json"
