"""The contents of a report, and the layout of its tables that several formats share."""

from dataclasses import dataclass

from analysis.artefacts.artefact import Artefact, Claim, Measured, Published, Table
from analysis.reading.runs import Runs

NOT_SHOWN = "Not shown, as there is nothing to compare"


@dataclass(frozen=True)
class ReportContents:
    """Everything that a report shows."""

    artefacts: list[Artefact]
    claims: list[Claim]
    runs: Runs
    commands: dict[str, str]  # by run id, quoted for a shell


def number_columns(table: Table) -> list[bool]:
    """Return for each column of a table whether it has numbers, which are aligned to the right."""
    return [any(not isinstance(row[index], str) for row in table.rows) for index in range(len(table.columns))]


def paper_columns(table: Table) -> list[bool]:
    """Return for each column of a table whether its numbers are the paper's alone."""
    kinds = [{type(row[index]) for row in table.rows} for index in range(len(table.columns))]
    return [Published in kind and Measured not in kind for kind in kinds]


def starts_group(table: Table) -> list[bool]:
    """Return for each column of a table but the first whether it begins a group; False for the first."""
    groups = [group for group, _ in table.columns]
    return [index > 0 and group != groups[index - 1] for index, group in enumerate(groups)]
