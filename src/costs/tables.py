"""Costs as Markdown tables on standard output."""

import torch

from src.costs.functions import BUCKETED, FOCAL
from src.costs.measure import Cell, Costs


def print_stages(costs: Costs) -> None:
    """Print tables of the time and peak memory in each stage of training, and their ratios to those of focal loss."""
    rows = [[name, *_cells_over_focal(costs.milliseconds, name, costs.columns)] for name in costs.rows]
    for row in rows:
        if row[0] == BUCKETED:
            errors = [costs.bucketed_errors[column] for column in costs.columns]
            row[1:] = [f"{cell}, error {100 * error:.2g}%" for cell, error in zip(row[1:], errors, strict=True)]
    print(f"\nMilliseconds forward and backward (times {FOCAL})\n")
    print_table(["function", *costs.columns], rows)
    print(f"\nPeak extra memory, MiB (times {FOCAL}){_memory_note(costs)}\n")
    rows = [[name, *_cells_over_focal(costs.mebibytes, name, costs.columns)] for name in _rows_with_memory(costs)]
    print_table(["function", *costs.columns], rows)


def print_scaling(costs: Costs, stage: str) -> None:
    """Print tables of the time and peak memory over sizes of the problem, and their growth from column to column."""
    tables = [
        ("Milliseconds", costs.rows, costs.milliseconds),
        (f"Peak extra memory, MiB{_memory_note(costs)},", _rows_with_memory(costs), costs.mebibytes),
    ]
    for title, names, values in tables:
        print(f"\n{title} over logits / positives, scores {stage} (times the column before)\n")
        print_table(["function", *costs.columns], [_row_of_growth(values, name, costs.columns) for name in names])


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Print a table in Markdown."""
    for row in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(row) + " |", flush=True)


def _cells_over_focal(values: dict[Cell, float | None], name: str, columns: list[str]) -> list[str]:
    return [_format_cell(values[name, column], values[FOCAL, column]) for column in columns]


def _row_of_growth(values: dict[Cell, float | None], name: str, columns: list[str]) -> list[str]:
    row = [values[name, column] for column in columns]
    return [name, *(_format_cell(value, before) for before, value in zip([None, *row], row, strict=False))]


def _rows_with_memory(costs: Costs) -> list[str]:
    return [name for name in costs.rows if (name, costs.columns[0]) in costs.mebibytes]


def _memory_note(costs: Costs) -> str:
    return " (not reported by this system)" if costs.mebibytes[FOCAL, costs.columns[0]] is None else ""


def _format_cell(value: float | None, unit: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.1f}" if unit is None else f"{value:,.1f} ({value / unit if unit else torch.nan:.2f}×)"
