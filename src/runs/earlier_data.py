"""Setting aside what a run's folder holds of data that have been changed since."""

import logging
import re
from pathlib import Path

logger = logging.getLogger(__name__)

# The lock, notes on jobs and failures, output that is still being written, and what was set aside before.
STAYING = re.compile(r"claim\.\d+|submitted\.json|failed\.json|.*\.log|earlier-\d+|\..*")


def set_aside(directory: Path) -> Path | None:
    """Move checkpoint, log and results of a run into a subfolder `earlier-<n>`; return that, None if there are none.

    The caller holds the run's lock. The analysis does not read the subfolder.
    """
    files = [file for file in directory.iterdir() if not STAYING.fullmatch(file.name)]
    if not files:
        return None
    # Without a summary the run is unfinished. data.json goes last: until then, what is left counts as of other data.
    files.sort(key=lambda file: (file.name != "summary.json", file.name == "data.json"))
    number = 1
    while (aside := directory / f"earlier-{number}").exists():
        number += 1
    aside.mkdir()
    for file in files:
        file.rename(aside / file.name)
    logger.warning("%s starts anew on changed data; what it held is in %s", directory, aside)
    return aside
