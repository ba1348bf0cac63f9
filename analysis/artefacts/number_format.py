"""How the numbers of tables are written in text, the same in all formats."""

import math
from collections.abc import Iterable
from itertools import groupby

from analysis.artefacts.artefact import Absent, Cell, Measured, Published, Table

ONE_SEED = "† one seed, no interval"


def to_text(cell: Cell) -> str:
    """A cell without markup: "29.0 ± 0.5", "29.0 †" for a single seed, "+1.2" where a sign is wanted."""
    match cell:
        case Measured():
            found = cell.estimate
            text = _number(found.mean, cell.digits, cell.signed)
            if is_single(cell):
                return f"{text} †"
            interval = not cell.plain and not math.isnan(found.half_width)
            return f"{text} ± {_number(found.half_width, cell.digits)}" if interval else text
        case Published():
            return _number(cell.value, cell.digits, cell.signed)
        case Absent():
            return cell.why
    return str(cell)


def _number(value: float, digits: int, signed: bool = False) -> str:
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0 or math.isnan(value):
        return text
    return f"{'−' if value < 0 else '+' if signed else ''}{text}"


def is_single(cell: Cell) -> bool:
    """Whether a number is that of one seed, of which no interval can be told."""
    return isinstance(cell, Measured) and not cell.plain and cell.estimate.count == 1


def notes_of(table: Table) -> list[str]:
    """What is said below a table."""
    single = any(is_single(cell) for row in table.rows for cell in row)
    return [*table.notes, ONE_SEED] if single else list(table.notes)


def groups_of(columns: Iterable[tuple[str, str]]) -> list[tuple[str, int]]:
    """The headings above the columns, and over how many columns each goes."""
    return [(group, len(list(members))) for group, members in groupby(columns, key=lambda column: column[0])]


def row_name(table: Table, row: list[Cell]) -> str:
    """The words that a row begins with."""
    words = []
    for (group, _), cell in zip(table.columns, row, strict=True):
        if group or not isinstance(cell, str):
            break
        words.append(cell)
    return ", ".join(words)
