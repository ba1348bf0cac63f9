"""Where a run that trains no detector keeps and logs its results."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from src.runs.lineage import Lineage
from src.runs.tracking import Tracker


@dataclass(frozen=True)
class RunLog:
    """The folder and the log of a run."""

    directory: Path
    tracker: Tracker
    lineage: Lineage
    needed: Mapping[str, Path]  # the folders of the runs that it needs, by their keys in src.config.needs.NEEDS
