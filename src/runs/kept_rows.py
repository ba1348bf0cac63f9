"""The rows that a run has logged, kept in its checkpoint so that a lost log can be written again."""

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

# Rows with the same keys and types share a table: the numbers take 8 bytes each, as a run may have millions.
Layout = tuple[tuple[str, str], ...]  # key and type of each value
TYPES = {"float": float, "int": int, "bool": bool}


class KeptRows:
    """Rows in the order in which they were logged."""

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()):
        self._layouts: dict[Layout, int] = {}
        self._values: list[array[float]] = []  # of each layout, row after row
        self._order = array("i")  # the layout of each row; -1 for a row with values that are not numbers
        self._others: list[str] = []  # such rows, as JSON
        for row in rows:
            self.append(row)

    def __len__(self) -> int:
        return len(self._order)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row."""
        if not all(type(value).__name__ in TYPES for value in row.values()):
            self._others.append(json.dumps(row))
            self._order.append(-1)
            return
        layout = tuple((key, type(value).__name__) for key, value in row.items())
        index = self._layouts.setdefault(layout, len(self._layouts))
        if index == len(self._values):
            self._values.append(array("d"))
        self._values[index].extend(row.values())
        self._order.append(index)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        layouts, done = list(self._layouts), [0] * (len(self._layouts) + 1)
        for index in self._order:
            if index < 0:
                yield json.loads(self._others[done[-1]])
            else:
                layout, start = layouts[index], done[index] * len(layouts[index])
                values = self._values[index][start : start + len(layout)]
                yield {key: TYPES[kind](value) for (key, kind), value in zip(layout, values, strict=True)}
            done[index] += 1

    @property
    def from_the_start(self) -> bool:
        """Whether nothing is missing before the first row; an earlier version kept only the last rows."""
        first = next(iter(self), None)
        return first is None or first["global_step"] <= 1

    def to_plain(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "layouts": [[list(column) for column in layout] for layout in self._layouts],
            "values": [torch.tensor(values, dtype=torch.float64) for values in self._values],
            "order": torch.tensor(self._order, dtype=torch.int32),
            "others": self._others,
        }

    @classmethod
    def from_plain(cls, plain: Any) -> "KeptRows":
        """Return the rows of a checkpoint; those of an earlier version are a list."""
        if isinstance(plain, list):
            return cls(plain)
        rows = cls()
        rows._layouts = {
            tuple((key, kind) for key, kind in layout): index for index, layout in enumerate(plain["layouts"])
        }
        rows._values = [array("d", values.tolist()) for values in plain["values"]]
        rows._order, rows._others = array("i", plain["order"].tolist()), list(plain["others"])
        return rows
