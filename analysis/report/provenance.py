"""Where each number came from: for each set of runs that numbers were measured by, an entry to link to."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from analysis.artefacts.artefact import Artefact, Measured
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import STANDARD, ablation_values
from analysis.artefacts.number_format import row_name

PAPER = (
    "Kean Chen, Weiyao Lin, Jianguo Li, John See, Ji Wang, Junni Zou. AP-Loss for Accurate One-Stage Object Detection. "
    "IEEE Transactions on Pattern Analysis and Machine Intelligence, 2020"
)


@dataclass
class Source:
    """Runs that numbers were measured by together, and which numbers these are."""

    run_ids: tuple[str, ...]
    setting: str
    numbers: dict[str, list[str]] = field(default_factory=dict)  # the columns by table and row

    @property
    def title(self) -> str:
        return "; ".join(f"{row}: {', '.join(columns)}" for row, columns in self.numbers.items())


def sources_of(artefacts: Iterable[Artefact]) -> dict[str, Source]:
    """The entries of all measured numbers by their anchors, in the order in which the tables first use them."""
    found: dict[str, Source] = {}
    for artefact in artefacts:
        for section in artefact.sections:
            for table in section.tables:
                for row in table.rows:
                    place = ", ".join(filter(None, [artefact.title.split(":")[0], table.title, row_name(table, row)]))
                    for (group, name), cell in zip(table.columns, row, strict=True):
                        if isinstance(cell, Measured):
                            source = found.setdefault(source_anchor(cell), Source(cell.run_ids, section.setting))
                            column = name if group in ("", "ours") else f"{group} ({name})"
                            source.numbers.setdefault(place, []).append(column)
    return found


def source_anchor(cell: Measured) -> str:
    """The anchor of the entry of a number."""
    return "from-" + hashlib.sha256(" ".join(cell.run_ids).encode()).hexdigest()[:10]


def run_anchor(run_id: str) -> str:
    """The anchor of a run in the list of runs."""
    return "run-" + _slug(run_id)


def paper_anchor(where: str) -> str:
    """The anchor of a table or figure of the paper among the references."""
    return "paper-" + _slug(where)


def _slug(text: str) -> str:
    # Distinct texts keep distinct anchors: what no id may hold is written as its number.
    return re.sub(r"[^A-Za-z0-9_-]", lambda found: f".{ord(found[0]):x}", text)


def describe_runs(runs: Runs, commands: dict[str, str]) -> list[dict[str, str]]:
    """What the list of runs says of each, as text."""
    return [_describe(run, runs, commands.get(run.run_id, "")) for run in runs.all]


def _describe(run: Run, runs: Runs, command: str) -> dict[str, str]:
    config = run.config
    commit = str(config.get("environment.git_commit") or "")
    return {
        "run": run.run_id, "state": run.state, "reason": run.reason,
        "counts": "yes" if runs.counts(run) else "no",
        "recipe": str(config.get("recipe", config.get("problem.name", ""))),
        "loss": str(config.get("loss.name", config.get("method.name", ""))),
        "knobs": ", ".join(f"{key}={value}" for key, value in changed(config).items()),
        "seed": str(config.get("seed", config.get("problem.seed", ""))),
        "commit": commit[:10] + (" (changed)" if config.get("environment.git_dirty") else ""),
        "host": str(config.get("environment.host", "")), "started": str(run.started)[:16].replace("T", " "),
        "resumed": "yes" if run.resumed else "no", "command": command, "source": run.source,
    }


def changed(config: dict[str, Any]) -> dict[str, Any]:
    """The knobs of a run that are not at their usual values."""
    if not {"loss.name", "batch_size"} <= config.keys():
        return {key: value for key, value in config.items() if key.startswith("method.") and key != "method.name"}
    model = config.get("model.name", "retinanet")
    found = {"model": model} if model != "retinanet" else {}
    values = ablation_values(config)
    return found | {key: value for key, value in values.items() if key != "loss" and value != STANDARD[key]}
