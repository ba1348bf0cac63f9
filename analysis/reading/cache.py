"""Keeps the runs that were read, so that only logs that changed are read again."""

import logging
from pathlib import Path

from analysis.reading.kept_runs import DAMAGE, FORMAT, RUNS, about, load, save
from analysis.reading.local import marks_of, read_local
from analysis.reading.runs import Run, Runs
from src.utils.errors import UserError

logger = logging.getLogger(__name__)


def read_cached(source: Path | str, folder: Path, unfinished_too: bool = False) -> Runs:
    """Read all runs of a folder of outputs, or of a W&B server's ENTITY/PROJECT; of kept ones only those that changed.

    If a server ceases to answer, or the user stops the program, the runs that it gave until then are kept.

    Args:
        folder: of runs.parquet and histories.parquet. If they cannot be used, they are made again.

    Raises:
        UserError: the server does not give the runs, or `folder` cannot be written to.
    """
    address = str(source.resolve()) if isinstance(source, Path) else source
    kept = _load(folder, address)
    if isinstance(source, Path):
        marks = marks_of(source)  # before reading: a log that grows meanwhile is read again the next time
        known = {name: run for name, (mark, run) in kept.items() if marks.get(name) == mark}
        runs = read_local(source, known)
    else:
        from analysis.reading.server import read_server  # only here, as wandb's client takes a second

        given = dict(kept)
        try:
            runs, marks = read_server(source, given, folder / "images")
        except (UserError, KeyboardInterrupt):
            _keep(given, kept, folder, address)
            raise
    # What could not be read is read again each time, so that it is reported each time; a run without a mark began
    # meanwhile.
    new = {
        run.source: (marks[run.source], run)
        for run in runs.all
        if run.source in marks and not any(run.source in line for line in runs.unreadable)
    }
    _keep(new, kept, folder, address)
    return Runs(runs.all, runs.unreadable, unfinished_too)


def _keep(new: dict[str, tuple[str, Run]], kept: dict[str, tuple[str, Run]], folder: Path, address: str) -> None:
    """Write runs with their marks by their sources, in place of those that are kept, unless they are the same."""
    if {name: mark for name, (mark, _) in new.items()} != {name: mark for name, (mark, _) in kept.items()}:
        try:
            save(list(new.values()), folder, {"address": address})
        except OSError as error:
            raise UserError(f"{folder}: the runs that were read cannot be kept there: {error.strerror}") from error


def _load(folder: Path, address: str) -> dict[str, tuple[str, Run]]:
    """Return the kept runs with their marks by their sources; none if there are none of this address and format."""
    if not (folder / RUNS).exists():
        return {}
    try:
        words = about(folder)
        usable = words.get("format") == FORMAT and words.get("address") == address
        return {run.source: (mark, run) for mark, run in load(folder)} if usable else {}
    except DAMAGE as error:
        logger.warning("%s is damaged, so all logs are read again: %s", folder, error)
        return {}
