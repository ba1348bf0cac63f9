"""The source of each number: the runs that it was measured by, and anchors to link to them."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from analysis.artefacts.artefact import Artefact, Measured
from analysis.artefacts.number_format import row_name
from analysis.reading.grouping import facts_of
from analysis.reading.needed import needed_by
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import STANDARD, ablation_values
from src.runs.lineage import lineage_changes
from src.utils.text import counted

PAPER = (
    "Kean Chen, Weiyao Lin, Jianguo Li, John See, Ji Wang, Junni Zou. AP-Loss for Accurate One-Stage Object Detection. "
    "IEEE Transactions on Pattern Analysis and Machine Intelligence, 2020"
)
# Of the list of runs, as Markdown and on the page; `describe_runs` has their cells.
RUN_COLUMNS = [
    *("run", "state", "recipe", "loss", "options", "needed by", "seed", "commit", "host", "started", "resumed"),
]


@dataclass
class Source:
    """A set of runs, and the numbers that were measured by exactly these."""

    run_ids: tuple[str, ...]
    setting: str
    numbers: dict[str, list[str]] = field(default_factory=dict)  # names of columns by "table, row"

    @property
    def title(self) -> str:
        """The numbers in one line: "Table 1, δ, 2: AP, AP50; …"."""
        return "; ".join(f"{row}: {', '.join(columns)}" for row, columns in self.numbers.items())


def sources_of(artefacts: Iterable[Artefact]) -> dict[str, Source]:
    """Return the sources of all measured numbers by their anchors, in the order in which the tables first use them."""
    sources: dict[str, Source] = {}
    for setting, row, column, cell in _measured_cells(artefacts):
        source = sources.setdefault(source_anchor(cell), Source(cell.run_ids, setting))
        source.numbers.setdefault(row, []).append(column)
    return sources


def _measured_cells(artefacts: Iterable[Artefact]) -> Iterator[tuple[str, str, str, Measured]]:
    """Yield the setting, the row, the column and the cell of each measured number."""
    tables = ((a, section, table) for a in artefacts for section in a.sections for table in section.tables)
    for artefact, section, table in tables:
        number = artefact.title.split(":")[0]  # "Table 1"
        for row in table.rows:
            words = ", ".join(filter(None, [number, table.title, row_name(table, row)]))
            for (group, name), cell in zip(table.columns, row, strict=True):
                if isinstance(cell, Measured):
                    yield section.setting, words, name if group in ("", "ours") else f"{group} ({name})", cell


def source_anchor(cell: Measured) -> str:
    """Return the anchor of the source of a number."""
    return "from-" + hashlib.sha256(" ".join(cell.run_ids).encode()).hexdigest()[:10]


def run_anchor(run_id: str) -> str:
    """Return the anchor of a run in the list of runs."""
    return "run-" + _anchor(run_id)


def paper_anchor(where: str) -> str:
    """Return the anchor of one of the paper's tables in the list of references."""
    return "paper-" + _anchor(where)


def _anchor(text: str) -> str:
    # Distinct texts keep distinct anchors: a character that an id must not have becomes its code.
    return re.sub(r"[^A-Za-z0-9_-]", lambda match: f".{ord(match[0]):x}", text)


def describe_runs(runs: Runs, commands: dict[str, str]) -> list[dict[str, str]]:
    """Return a row for each run of the list of runs, as text by column."""
    needers = needed_by(runs.all)
    return [
        _describe(run, runs, commands.get(run.run_id, "")) | {"needed by": _counted(needers.get(run.run_id, {}))}
        for run in runs.all
    ]


def _counted(needers: Mapping[str, str]) -> str:
    """Return how many runs need one, and what for: "3 runs (snapshot)".

    Args:
        needers: by their ids what each needs it for.
    """
    return ", ".join(f"{counted(number, 'run')} ({key})" for key, number in Counter(needers.values()).items())


def _describe(run: Run, runs: Runs, command: str) -> dict[str, str]:
    config = run.config
    return {
        "run": run.run_id,
        "state": run.state,
        "reason": run.reason,
        "counts": "yes" if runs.counts(run) else "no",
        "recipe": str(config.get("recipe", config.get("problem.name", ""))),
        "loss": str(config.get("loss.name", config.get("method.name", ""))),
        "options": ", ".join(f"{key}={value}" for key, value in changed_options(run).items()),
        "seed": str(config.get("seed", config.get("problem.seed", ""))),
        "commit": _commits(config),
        "host": str(config.get("environment.host", "")),
        "started": str(run.started)[:16].replace("T", " "),
        "resumed": "; ".join(["yes" if run.resumed else "no", *lineage_changes(config.get("attempts"))]),
        "command": command,
        "source": run.source,
    }


def _commits(config: dict[str, Any]) -> str:
    """Return the commits of all attempts at a run, each once and in their order."""
    last = {key: config.get(f"environment.{key}") for key in ("git_commit", "git_dirty")}
    attempts = config.get("attempts")
    known = [attempt for attempt in attempts if isinstance(attempt, dict)] if isinstance(attempts, list) else []
    commits = (
        str(attempt.get("git_commit") or "")[:10] + (" (modified)" if attempt.get("git_dirty") else "")
        for attempt in known or [last]
    )
    return ", ".join(dict.fromkeys(commits))


def changed_options(run: Run) -> dict[str, Any]:
    """Return the options of a run that differ from the recipe's and the paper's; of a linear problem, all its method's.

    The recipe itself and where the data lie are left out. Without an identity, nothing is known of them.
    """
    config = run.config
    if not run.has_identity:
        return {}
    if "problem.name" in config:
        return {key: value for key, value in config.items() if key.startswith("method.") and key != "method.name"}
    model = config.get("model.name", "retinanet")
    options = {"model": model} if model != "retinanet" else {}
    facts = facts_of(run)
    given = (word.partition("=") for word in (facts.words if facts else ()))
    options |= {key: value for key, _, value in given if key not in ("recipe", "dataset.root")}
    return options | {
        key: value for key, value in ablation_values(config).items() if key != "loss" and value != STANDARD[key]
    }
