"""Elements of the report's page that several of its parts use: links, tables, panels, and lists of what is missing."""

import re
from html import escape
from itertools import groupby

from analysis.artefacts.artefact import Absent, Cell, Measured, Missing, Published, Table
from analysis.artefacts.number_format import notes_of, to_text
from analysis.report.contents import number_columns, paper_columns, starts_group
from analysis.report.provenance import paper_anchor, source_anchor

DENSE_FROM = 10  # columns: a table with more does not fit a desktop's window unless its words wrap


def link(target: str, text: str, css_class: str = "") -> str:
    """Return a link; the target is an address, or # and an anchor of the page."""
    return f'<a{_class(css_class)} href="{escape(target)}">{escape(text)}</a>'


def setting_code(setting: str) -> str:
    """Return a setting as code, as it is the words of a command line."""
    return f"<code>{escape(setting)}</code>"


def command_code(command: str) -> str:
    """Return a command as code that can be copied as it is."""
    return f'<code class="command">{escape(command)}</code>'


def scroll_box(label: str, content: str) -> str:
    """Return a box in which wide content scrolls, by keyboard too, so that the page does not."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">\n{content}\n</div>'


def paragraphs(texts: list[str], css_class: str) -> str:
    """Return a paragraph for each text that is not empty."""
    return "".join(f"<p{_class(css_class)}>{escape(text)}</p>" for text in texts if text)


def missing_box(missing: list[Missing]) -> str:
    """Return what is missing, each with the command that makes it; nothing if nothing is missing."""
    items = "".join(f"<li>{escape(item.what)}<br>{command_code(item.command)}</li>" for item in missing)
    return f'<div class="missing"><p>Missing</p><ul>{items}</ul></div>' if missing else ""


def panel_figures(titles: list[str], svgs: list[str]) -> str:
    """Return panels, side by side where there is room; nothing if there are none."""
    figures = []
    for title, svg in zip(titles, svgs, strict=True):
        caption = f"<figcaption>{escape(title)}</figcaption>" if title else ""
        figures.append(f'<figure class="panel">{caption}\n{svg}</figure>')
    return f'<div class="panels">{"".join(figures)}</div>' if figures else ""


def artefact_table(table: Table) -> str:
    """Return a table of an artefact; its numbers link to their sources, and the paper's columns look different."""
    classes = [
        " ".join(["number" if is_number else "text"] + ["paper"] * is_paper + ["first"] * is_first)
        for is_number, is_paper, is_first in zip(
            number_columns(table), paper_columns(table), starts_group(table), strict=True
        )
    ]
    head = "\n".join(_head_rows(table, classes))
    body = "\n".join(_row(row, classes) for row in table.rows)
    caption = f"<caption>{escape(table.title)}</caption>"
    look = _class("dense" * (len(table.columns) > DENSE_FROM))
    html = f"<table{look}>{caption}\n<thead>\n{head}\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    return scroll_box(table.title, html) + paragraphs(notes_of(table), "note")


def slug(text: str) -> str:
    """Return text as an anchor or a class: lower case, with hyphens."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()


def _class(names: str) -> str:
    return f' class="{names.strip()}"' if names.strip() else ""


def _head_rows(table: Table, classes: list[str]) -> list[str]:
    """Return the row of the groups, if there are any, and that of the column names; columns of no group span both."""
    upper, lower = "", ""
    has_groups = any(group for group, _ in table.columns)
    columns = zip(table.columns, classes, strict=True)
    for group, members in groupby(columns, key=lambda column: column[0][0]):
        in_group = list(members)
        if group:
            first_class = "first" if "first" in in_group[0][1] else ""
            look = _class(f"{first_class} {'paper' if group == 'paper' else ''}")
            upper += f'<th scope="colgroup" colspan="{len(in_group)}"{look}>{escape(group)}</th>'
        for (_, name), css_class in in_group:
            if group or not has_groups:
                lower += f'<th scope="col"{_class(css_class)}>{escape(name)}</th>'
            else:
                upper += f'<th scope="col" rowspan="2"{_class(css_class)}>{escape(name)}</th>'
    return [f"<tr>{row}</tr>" for row in (upper, lower) if row]


def _row(row: list[Cell], classes: list[str]) -> str:
    first = f'<th scope="row">{escape(row[0])}</th>' if isinstance(row[0], str) else _cell(row[0], classes[0])
    others = [_cell(cell, css_class) for cell, css_class in zip(row[1:], classes[1:], strict=True)]
    return f"<tr>{first}{''.join(others)}</tr>"


def _cell(cell: Cell, css_class: str) -> str:
    text = to_text(cell)
    match cell:
        case Measured():
            content = link(f"#{source_anchor(cell)}", text)
        case Published():
            content = link(f"#{paper_anchor(cell.where)}", text)
            css_class = css_class if "paper" in css_class.split() else f"{css_class} paper"
        case Absent():
            content, css_class = escape(text), f"{css_class} absent"
        case str():
            content = escape(text)
    if isinstance(cell, Measured | Published) and cell.best:
        content = f"<strong>{content}</strong>"
    return f"<td{_class(css_class)}>{content}</td>"
