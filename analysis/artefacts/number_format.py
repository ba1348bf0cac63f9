"""Writes the numbers of tables as text, the same in all formats."""

import math
from collections.abc import Iterable
from itertools import groupby

from analysis.artefacts.artefact import Absent, Cell, Measured, Published, Table

ONE_SEED = "† one seed, no interval"


def to_text(cell: Cell) -> str:
    """Return a cell without markup: "29.0 ± 0.5", "29.0 †" for a single seed, "+1.2" with a sign."""
    match cell:
        case Measured():
            mean, half_width = cell.estimate.mean, cell.estimate.half_width
            digits = cell.digits or int(0 < abs(mean) < 0.5)  # a rare event is not none
            text = _number(mean, digits, cell.signed)
            if is_single(cell):
                return f"{text} †"
            interval = not cell.plain and not math.isnan(half_width)
            return f"{text} ± {_number(half_width, digits)}" if interval else text
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


def signed(value: float) -> str:
    """Return a number with its sign and one decimal."""
    return _number(value, 1, signed=True)


def is_single(cell: Cell) -> bool:
    """Return whether a number is that of a single seed, which has no interval."""
    return isinstance(cell, Measured) and not cell.plain and cell.estimate.count == 1


def notes_of(table: Table) -> list[str]:
    """Return the notes below a table."""
    single = any(is_single(cell) for row in table.rows for cell in row)
    return [*table.notes, ONE_SEED] if single else list(table.notes)


def groups_of(columns: Iterable[tuple[str, str]]) -> list[tuple[str, int]]:
    """Return the headings above the columns, and how many columns each covers."""
    return [(group, len(list(members))) for group, members in groupby(columns, key=lambda column: column[0])]


def row_name(table: Table, row: list[Cell]) -> str:
    """Return the words that a row begins with."""
    words = []
    for (group, _), cell in zip(table.columns, row, strict=True):
        if group or not isinstance(cell, str):
            break
        words.append(cell)
    return ", ".join(words)
