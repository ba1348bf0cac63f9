"""Costs as tables."""

import math
from collections.abc import Mapping

from src.costs.functions import BUCKETED, FOCAL
from src.costs.measure import Cell, Costs
from src.costs.table import Table


def stage_tables(costs: Costs) -> list[Table]:
    """Return the time and peak memory in each stage of training, with their ratios to those of focal loss."""
    rows = [[name, *_cells_over_focal(costs.milliseconds, name, costs.columns)] for name in costs.rows]
    for row in rows:
        if row[0] == BUCKETED:
            errors = [costs.bucketed_errors[column] for column in costs.columns]
            row[1:] = [f"{cell}, error {100 * error:.2g}%" for cell, error in zip(row[1:], errors, strict=True)]
    memory = [[name, *_cells_over_focal(costs.mebibytes, name, costs.columns)] for name in _rows_with_memory(costs)]
    header = ["function", *costs.columns]
    return [
        Table(f"Milliseconds forward and backward (times {FOCAL})", header, rows),
        Table(f"Peak extra memory, MiB (times {FOCAL}){_memory_note(costs)}", header, memory),
    ]


def scaling_tables(costs: Costs, stage: str) -> list[Table]:
    """Return the time and peak memory over sizes of the problem, with their growth from column to column."""
    quantities: list[tuple[str, list[str], Mapping[Cell, float | None]]] = [
        ("Milliseconds", costs.rows, costs.milliseconds),
        (f"Peak extra memory, MiB{_memory_note(costs)},", _rows_with_memory(costs), costs.mebibytes),
    ]
    return [
        Table(
            f"{quantity} over logits / positives, scores {stage} (times the column before)",
            ["function", *costs.columns],
            [_row_of_growth(values, name, costs.columns) for name in names],
        )
        for quantity, names, values in quantities
    ]


def size_table(milliseconds: Mapping[Cell, float], names: list[str], columns: list[str], unit: str) -> Table:
    """Return the time of each function over sizes of the problem, with its ratio to that of the function `unit`."""
    cells = {(n, c): _format_cell(milliseconds[n, c], milliseconds[unit, c]) for n in names for c in columns}
    rows = [[name, *(cells[name, column] for column in columns)] for name in names]
    return Table(f"Milliseconds forward and backward over logits (times {unit})", ["function", *columns], rows)


def _cells_over_focal(values: Mapping[Cell, float | None], name: str, columns: list[str]) -> list[str]:
    return [_format_cell(values[name, column], values[FOCAL, column]) for column in columns]


def _row_of_growth(values: Mapping[Cell, float | None], name: str, columns: list[str]) -> list[str]:
    row = [values[name, column] for column in columns]
    return [name, *(_format_cell(value, before) for before, value in zip([None, *row], row, strict=False))]


def _rows_with_memory(costs: Costs) -> list[str]:
    return [name for name in costs.rows if (name, costs.columns[0]) in costs.mebibytes]


def _memory_note(costs: Costs) -> str:
    return " (not reported by this system)" if costs.mebibytes[FOCAL, costs.columns[0]] is None else ""


def _format_cell(value: float | None, unit: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.1f}" if unit is None else f"{value:,.1f} ({value / unit if unit else math.nan:.2f}×)"
