"""Pieces of the report's page: an artefact's tables and panels as HTML."""

import re
from html import escape
from itertools import groupby

from analysis.artefacts.artefact import Absent, Cell, Measured, Missing, Published, Table
from analysis.report.markdown import NOT_HERE
from analysis.artefacts.number_format import notes_of, to_text
from analysis.report.provenance import paper_anchor, source_anchor


def link(target: str, text: str, kind: str = "") -> str:
    """A link; the target is an address or an anchor of the page with its #."""
    of_kind = f' class="{kind}"' if kind else ""
    return f'<a{of_kind} href="{escape(target)}">{escape(text)}</a>'


def setting_name(setting: str) -> str:
    """A setting by the words of its command line."""
    return f"<code>{escape(setting)}</code>"


def scrolling(name: str, wide: str) -> str:
    """What is wide in a box of its own, which scrolls where the window is narrower; the keyboard can scroll it too."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name)}">\n{wide}\n</div>'


def command_line(command: str | None) -> str:
    """A command, or that there is none yet."""
    return f'<code class="command">{escape(command)}</code>' if command else f"<em>{NOT_HERE}</em>"


def missing_list(missing: list[Missing]) -> str:
    """What is missing, and how to make it."""
    items = "".join(f"<li>{escape(m.what)}<br>{command_line(m.command)}</li>" for m in missing)
    return f'<div class="missing"><p>Missing</p><ul>{items}</ul></div>' if missing else ""


def table_of(table: Table) -> str:
    """A table of an artefact, with the paper's columns told apart from ours."""
    papers = [any(isinstance(row[at], Published) for row in table.rows) for at in range(len(table.columns))]
    starts = _starts(table)
    numbers = [any(not isinstance(row[at], str) for row in table.rows) for at in range(len(table.columns))]
    looks = [
        " ".join(["number" if number else "text"] + ["paper"] * paper + ["first"] * start)
        for number, paper, start in zip(numbers, papers, starts, strict=True)
    ]
    body = "\n".join(_row(row, looks) for row in table.rows)
    head = "\n".join(_head(table, looks))
    name = f"<caption>{escape(table.title)}</caption>"
    text = f"<table>{name}\n<thead>\n{head}\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    return scrolling(table.title, text) + paragraphs(notes_of(table), "note")


def paragraphs(texts: list[str], kind: str) -> str:
    return "".join(f'<p class="{kind}">{escape(text)}</p>' for text in texts)


def _starts(table: Table) -> list[bool]:
    """Whether a column is the first of its group, before which there is a line."""
    groups = [group for group, _ in table.columns]
    return [at > 0 and group != groups[at - 1] for at, group in enumerate(groups)]


def _head(table: Table, looks: list[str]) -> list[str]:
    rows = ["", ""]
    grouped = any(group for group, _ in table.columns)
    for group, members in groupby(enumerate(table.columns), key=lambda member: member[1][0]):
        columns = list(members)
        if group:
            look = "first " * ("first" in looks[columns[0][0]]) + "paper" * (group == "paper")
            rows[0] += f'<th scope="colgroup" colspan="{len(columns)}"{_class(look)}>{escape(group)}</th>'
        for at, (_, name) in columns:
            over = ' rowspan="2"' if grouped and not group else ""
            rows[bool(group)] += f'<th scope="col"{over}{_class(looks[at])}>{escape(name)}</th>'
    return [f"<tr>{row}</tr>" for row in rows if row]


def _row(row: list[Cell], looks: list[str]) -> str:
    cells = [f'<th scope="row">{escape(str(row[0]))}</th>' if isinstance(row[0], str) else _cell(row[0], looks[0])]
    cells += [_cell(cell, look) for cell, look in zip(row[1:], looks[1:], strict=True)]
    return f"<tr>{''.join(cells)}</tr>"


def _cell(cell: Cell, look: str) -> str:
    text = to_text(cell)
    match cell:
        case Measured():
            inner = link(f"#{source_anchor(cell)}", text)
        case Published():
            inner = link(f"#{paper_anchor(cell.where)}", text)
        case _:
            inner = escape(text)
    if isinstance(cell, Measured | Published) and cell.best:
        inner = f"<strong>{inner}</strong>"
    absent = " absent" if isinstance(cell, Absent) else ""
    return f"<td{_class(look + absent)}>{inner}</td>"


def _class(look: str) -> str:
    return f' class="{look.strip()}"' if look.strip() else ""


def panels_of(titles: list[str], svgs: list[str]) -> str:
    """Panels side by side where there is room."""
    figures = [
        f'<figure class="panel">{f"<figcaption>{escape(title)}</figcaption>" if title else ""}\n{svg}</figure>'
        for title, svg in zip(titles, svgs, strict=True)
    ]
    return f'<div class="panels">{"".join(figures)}</div>' if figures else ""


def slug(text: str) -> str:
    """Text as an anchor."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()
