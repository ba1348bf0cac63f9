"""Records of sweeps, which list their runs so that these need not be composed again.

Records of launched sweeps are in the folder of outputs. A sweep whose status was only shown is recorded in the user's
cache, as one may look at a folder of outputs without being able to write to it.
"""

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from src.config.command import command_line
from src.launch.compose import Job
from src.utils import paths
from src.utils.errors import UserError
from src.utils.files import DamagedFile, read_json, write_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepRecord:
    """The runs of `python -m <program> -m <arguments>`."""

    program: str  # src.run or src.linear
    arguments: list[str]
    runs: dict[str, list[str]]  # the name of each run's folder, and the overrides that make it
    launched: bool  # whether the sweep was launched, or only expanded to show its state
    version: str  # of the configuration files and the schema
    needs: dict[str, list[str]] = field(default_factory=dict)  # the runs that each needs, by the folders' names

    @property
    def command(self) -> str:
        """The command that launches the sweep."""
        return command_line(self.program, self.arguments, ["-m"])


def make_record(program: str, arguments: list[str], jobs: Sequence[Job], *, launched: bool) -> SweepRecord:
    """Return the record of a sweep of the current configuration files, from its runs."""
    runs = {job.directory.name: job.overrides for job in jobs}
    needs = {job.directory.name: [needed.name for needed in job.needs] for job in jobs if job.needs}
    return SweepRecord(program, arguments, runs, launched=launched, version=config_version(), needs=needs)


def recorded_sweeps(outputs: Path) -> list[SweepRecord]:
    """Return the records of all sweeps that were launched with this folder of outputs; damaged ones with a warning."""
    records = [_read_record(file) for file in sorted((outputs / ".sweeps").glob("*.json"))]
    return [record for record in records if record is not None and record.launched]


def run_command(program: str, overrides: list[str]) -> str:
    """Return the command that makes one run of a sweep without SLURM."""
    return command_line(program, [word for word in overrides if not word.startswith(("sweeps=", "slurm="))])


def load_record(program: str, arguments: list[str], outputs: Path) -> SweepRecord | None:
    """Return the record of a sweep, preferably one for the current configuration files; None if there is none."""
    launched = _read_record(_file(outputs / ".sweeps", program, arguments))
    version = config_version()
    if launched is not None and launched.version == version:
        return launched
    cached = None
    with contextlib.suppress(UserError):
        cached = _read_record(_cached(program, arguments))
    if cached is None or cached.version != version:
        return launched
    return replace(cached, launched=launched is not None and launched.launched)


def save_record(record: SweepRecord, outputs: Path) -> None:
    """Record a launched sweep in a folder of outputs; where that cannot be written, warn."""
    file = _file(outputs / ".sweeps", record.program, record.arguments)
    if _read_record(file) == record:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, asdict(record))
    except (UserError, OSError) as error:
        logger.warning("This sweep is not recorded, so that `python -m src.status` will not list it: %s", error)


def cache_record(record: SweepRecord) -> None:
    """Record a sweep in the user's cache, if there is one."""
    with contextlib.suppress(UserError, OSError):
        file = _cached(record.program, record.arguments)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, asdict(record))


def config_version() -> str:
    """Return a digest of all files that decide which runs a sweep has."""
    files = [*paths.CONF.rglob("*.yaml"), *paths.SWEEPS.glob("*.yaml"), *(paths.SRC / "config").glob("*.py")]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:10]


def _read_record(file: Path) -> SweepRecord | None:
    """Return the record in a file; None if there is none, or, with a warning, if it is damaged."""
    try:
        content = read_json(file)
        return None if content is None else _record_from(content)
    except DamagedFile as error:
        logger.warning("%s; it is ignored", error)
    except (KeyError, TypeError, AttributeError):
        logger.warning("%s is damaged: it is no record of a sweep; it is ignored", file)
    return None


def _record_from(content: dict[str, Any]) -> SweepRecord:
    # Version 0.1 wrote `made`, and each run's overrides as one text; its runs are composed again.
    launched = content.get("launched", content.get("made", False))
    runs, version = dict(content["runs"]), content["version"]
    needs = dict(content.get("needs", {}))
    return SweepRecord(content["program"], content["arguments"], runs, launched=launched, version=version, needs=needs)


def _cached(program: str, arguments: list[str]) -> Path:
    # A data folder's name is part of a run's identity, and its path is relative to the working directory.
    return _file(paths.cache_folder() / "ap-loss/sweeps", program, [os.getcwd(), *arguments])


def _file(folder: Path, program: str, arguments: list[str]) -> Path:
    digest = hashlib.sha256(json.dumps([program, *arguments]).encode()).hexdigest()[:10]
    return folder / f"{digest}.json"
