"""The machines that runs were made on: times and memory compare on one machine alone."""

from collections.abc import Iterable, Sequence

from analysis.reading.runs import Run
from src.utils.text import listed


def machine(run: Run) -> str:
    """Return what must match for times and memory to be comparable: the GPU model or the CPU's host, and threads."""
    device = str(run.config.get("environment.device", "an unknown device"))
    host = f" of {run.config.get('environment.host')}" if device.endswith("CPU") else ""
    threads = run.config.get("environment.threads")
    return f"{device}{host} ({threads} thread{'s' * (threads != 1)})"


def on_one_machine(groups: Iterable[Sequence[Run]]) -> tuple[list[list[Run]], list[Run]]:
    """Return the runs of each group on one machine, and all runs on others.

    It is the machine with runs in most of the groups, and of several the one with most runs.
    """
    groups = list(groups)
    machines: dict[str, list[int]] = {}
    for number, runs in enumerate(groups):
        for run in runs:
            machines.setdefault(machine(run), []).append(number)
    best = max(machines, key=lambda name: (len(set(machines[name])), len(machines[name])), default="")
    others = [run for runs in groups for run in runs if machine(run) != best]
    return [[run for run in runs if machine(run) == best] for runs in groups], others


def where_run(shown: Iterable[Run], others: Iterable[Run]) -> str:
    """Return a sentence that names the machines of the runs that are shown, and those of others, which are not."""
    names = [list(dict.fromkeys(map(machine, runs))) for runs in (shown, others)]
    rest = f" Not shown, as times and memory of machines do not compare: {listed(names[1])}." if names[1] else ""
    return f"Measured on {listed(names[0])}.{rest}"
