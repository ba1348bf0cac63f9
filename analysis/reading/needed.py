"""Which runs others need: detectors under attack, patches, RPNs and snapshots, as the logs of the others state it."""

from collections.abc import Iterable

from analysis.reading.grouping import Group
from analysis.reading.runs import Run

NEEDS = "needs."  # what the keys begin with under which a run logs the ids of those that it needs


def needed_by(runs: Iterable[Run]) -> dict[str, dict[str, str]]:
    """Return for the id of each run that others need the ids of these, and what each needs it for."""
    needers: dict[str, dict[str, str]] = {}
    for run in (run for run in runs if run.has_identity):
        for key, needed in run.config.items():
            if key.startswith(NEEDS):
                needers.setdefault(needed, {})[run.run_id] = key.removeprefix(NEEDS)
    return needers


def without_needed(groups: list[Group]) -> list[Group]:
    """Return the groups but for those of which each run is needed, directly or not, by a run outside of the group."""
    needers = needed_by(facts.run for group in groups for facts in group.own)
    return [group for group in groups if not _is_only_needed({facts.run.run_id for facts in group.own}, needers)]


def _is_only_needed(group: set[str], needers: dict[str, dict[str, str]]) -> bool:
    return all(_all_needers(run_id, needers) - group for run_id in group)


def _all_needers(run_id: str, needers: dict[str, dict[str, str]]) -> set[str]:
    """Return the ids of the runs that need one, directly or because they need one that does."""
    found: set[str] = set()
    left = [run_id]
    while left:
        new = needers.get(left.pop(), {}).keys() - found
        found |= new
        left += new
    return found
