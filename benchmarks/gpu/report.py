"""What came of the parts, as JSON and as a summary in Markdown."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.parts import PARTS
from src.costs.table import Table


@dataclass
class Outcome:
    """What came of a part.

    Attributes:
        status: "passed", "failed" or "skipped".
        reason: of a failure or of being skipped; else empty.
        values: the numbers for programs.
    """

    part: str
    status: str
    seconds: float
    reason: str = ""
    tables: list[Table] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_process(cls, part: str, seconds: float, failure: str | None, result_file: Path) -> "Outcome":
        """Return the outcome of a part that has ended, from what it has written."""
        if failure is not None:
            return cls(part, "failed", seconds, failure)
        result = json.loads(result_file.read_text())
        tables = [Table(**table) for table in result["tables"]]
        failures = result["failures"]
        return cls(part, "failed" if failures else "passed", seconds, "; ".join(failures), tables, result["values"])


def save_outcome(outcome: Outcome, file: Path) -> None:
    """Write an outcome as JSON."""
    file.write_text(json.dumps(asdict(outcome), indent=2, ensure_ascii=False) + "\n")


def summary(outcomes: list[Outcome], device: str, quick: bool) -> str:
    """Return all tables in Markdown; the last lists the parts."""
    sizes = ", with --quick: its figures are of tiny problems and mean nothing" if quick else ""
    blocks = [f"# Checks and measurements on {device}{sizes}"]
    blocks += [table.markdown() for outcome in outcomes for table in outcome.tables]
    purposes = {part.name: part.purpose for part in PARTS}
    rows = [
        [outcome.part, purposes[outcome.part], outcome.status, f"{outcome.seconds:.0f}", outcome.reason or "–"]
        for outcome in outcomes
    ]
    blocks.append(Table("Parts", ["part", "what", "status", "seconds", "reason"], rows).markdown())
    return "\n\n".join(blocks) + "\n"
