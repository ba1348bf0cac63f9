"""Set aside what no longer counts in a run's folder: results on data changed since, or an incomplete log."""

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from src.utils.errors import UserError

logger = logging.getLogger(__name__)

# The lock, notes on jobs and failures, output that is still being written, and what was set aside before.
STAYING = re.compile(r"claim\.\d+|submitted\.json|failed\.json|.*\.log|earlier-\d+|\..*")


def set_aside(directory: Path) -> Path | None:
    """Move checkpoint, log and results of a run into a subfolder `earlier-<n>` and return it; None if there are none.

    The caller holds the run's lock. The analysis does not read the subfolder.
    """
    aside = _move(directory, (file for file in directory.iterdir() if not STAYING.fullmatch(file.name)))
    if aside is not None:
        logger.warning("%s starts anew; what it held is in %s", directory, aside)
    return aside


def set_results_aside(directory: Path) -> None:
    """Move a run's summary and log into a subfolder `earlier-<n>`, so that the run logs again from its checkpoint.

    The caller holds the run's lock.
    """
    _move(directory, (directory / name for name in ("summary.json", "wandb") if (directory / name).exists()))


def set_parts_aside(directory: Path, folders: Iterable[Path]) -> None:
    """Move parts of a run's log into a subfolder `earlier-<n>`; the caller holds the run's lock."""
    _move(directory, folders)


def set_damaged_aside(file: Path) -> None:
    """Rename a damaged file; the caller holds the run's lock."""
    aside = file.with_name(f"{file.stem}.damaged{file.suffix}")
    try:
        file.replace(aside)
    except OSError as error:
        raise UserError(f"{file} is damaged, and cannot be moved away: {error.strerror}") from None
    logger.warning("%s is damaged. It is now %s, and the run goes on from its checkpoint", file, aside.name)


def _move(directory: Path, files: Iterable[Path]) -> Path | None:
    """Move files of a run into a new subfolder `earlier-<n>`; return that, None without files."""
    # Without a summary the run is unfinished. data.json goes last: until then, what is left belongs to other data.
    ordered = sorted(files, key=lambda file: (file.name != "summary.json", file.name == "data.json"))
    if not ordered:
        return None
    number = 1
    while (aside := directory / f"earlier-{number}").exists():
        number += 1
    aside.mkdir()
    for file in ordered:
        file.rename(aside / file.name)
    return aside
