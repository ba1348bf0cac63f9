"""Tables in Markdown. This module does not import torch, so that reports do not need it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of formatted cells under a title."""

    title: str
    header: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        """Return the title and the table in Markdown."""
        lines = (self.header, ["---"] * len(self.header), *self.rows)
        return "\n".join([self.title, "", *("| " + " | ".join(line) + " |" for line in lines)])
