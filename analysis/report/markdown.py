"""Artefacts, claims and runs as Markdown, for files and for the terminal."""

import re

from analysis.artefacts.artefact import (
    Absent,
    Artefact,
    Cell,
    Claim,
    Measured,
    Missing,
    Panel,
    Published,
    Section,
    Table,
    Verdict,
)
from analysis.artefacts.number_format import notes_of, to_text
from analysis.report.contents import NOT_SHOWN, ReportContents, number_columns
from analysis.report.png_pdf_svg import drawing_of
from analysis.report.provenance import RUN_COLUMNS, describe_runs, run_anchor, source_anchor, sources_of


def to_markdown(artefact: Artefact, links: bool = False) -> str:
    """Return an artefact as Markdown.

    Args:
        links: whether numbers link to their runs in runs.md, and figures are shown rather than described.
    """
    blocks = [f"# {escape(artefact.title)}", escape(artefact.caption)]
    for index in range(len(artefact.sections)):
        blocks += _section(artefact, index, links)
    if artefact.not_shown:
        blocks.append(f"{NOT_SHOWN}: {', '.join(map(code, artefact.not_shown))}.")
    return _document(blocks)


def claims_to_markdown(claims: list[Claim], links: bool = False) -> str:
    """Return each claim of the paper with its verdicts.

    Args:
        links: whether the runs link to runs.md.
    """
    blocks = ["# Claims of the paper"]
    for claim in claims:
        blocks += [f"## {escape(claim.text)}", escape(f"{claim.where}; see {claim.artefact}.")]
        blocks += [_verdict(verdict, links) for verdict in claim.verdicts] or ["No runs yet."]
        blocks.append(_missing(claim.missing))
    return _document(blocks)


def runs_to_markdown(contents: ReportContents) -> str:
    """Return the source of each number, all runs, their commands, and what was left out."""
    runs = contents.runs
    described = {run["run"]: run for run in describe_runs(runs, contents.commands)}
    blocks = ["# Source of each number"]
    for anchor, source in sources_of(contents.artefacts).items():
        setting = f", {code(source.setting)}" if source.setting else ""
        blocks.append(f'<a id="{anchor}"></a>**{escape(source.title)}**{setting}')
        blocks.append("\n".join(f"- {_run_of_number(run_id, described.get(run_id))}" for run_id in source.run_ids))
    blocks.append("# Runs")
    lines = [
        [f'<a id="{run_anchor(run["run"])}"></a>{escape(run["run"])}', *(escape(run[key]) for key in RUN_COLUMNS[1:])]
        for run in described.values()
    ]
    blocks.append(grid([RUN_COLUMNS, *lines], [False] * len(RUN_COLUMNS)) if lines else "No runs.")
    # Not a column of the table: a bar in a command would end its cell, and an escaped bar is another command.
    commands = [f"- {_run_link(run)}: {code(run['command'])}" for run in described.values() if run["command"]]
    blocks += ["# Commands", "\n".join(commands)] if commands else []
    left_out = [f"- {escape(run.run_id)}: {escape(run.reason or run.state)}" for run in runs.left_out]
    left_out += [f"- {escape(line)}" for line in runs.unreadable]
    blocks += ["# Left out", "\n".join(left_out)] if left_out else []
    return _document(blocks)


def escape(text: str) -> str:
    r"""Return Markdown that shows this text as it is, on GitHub too: without markup, HTML, mathematics or lists.

    Underscores within words stay, as they are no markup there and names are easier to read so.
    """
    words = " ".join(str(text).split())
    words = re.sub(r"([\\|*`<\[\]~$]|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", words)
    # At the start of a block these begin a quotation, a list, a heading or a rule.
    words = re.sub(r"^(>|(?:#+|[-+]|-{3,})(?=\s|$))", r"\\\1", words)
    return re.sub(r"^(\d+)([.)](?:\s|$))", r"\1\\\2", words)


def code(text: str) -> str:
    """Return text as Markdown's code, in which every character stands for itself: a command is copied as it is.

    Only a line break becomes a space, as it would end a heading or an item of a list.
    """
    text = " ".join(text.splitlines())
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    # Without a space the fence and a backtick beside it would be one; Markdown takes one space off either end.
    spaced = f" {text} " if text.startswith(("`", " ")) or text.endswith(("`", " ")) else text
    return f"{fence}{spaced}{fence}"


def grid(lines: list[list[str]], to_the_right: list[bool]) -> str:
    """Return a Markdown table whose columns are aligned in the source too.

    Args:
        lines: the head, and then the rows, of as many cells each.
        to_the_right: whether a column is aligned to the right.
    """
    widths = [max(3, *(len(line[index]) for line in lines)) for index in range(len(to_the_right))]
    looks = list(zip(widths, to_the_right, strict=True))
    padded = [
        [text.rjust(width) if right else text.ljust(width) for text, (width, right) in zip(line, looks, strict=True)]
        for line in lines
    ]
    rule = [f"{'-' * (width - 1)}{':' if right else '-'}" for width, right in looks]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])


def _document(blocks: list[str]) -> str:
    return "\n\n".join(filter(None, blocks)) + "\n"


def _section(artefact: Artefact, index: int, links: bool) -> list[str]:
    section: Section = artefact.sections[index]
    blocks = [f"## {code(section.setting)}"] if section.setting else []
    for table in section.tables:
        blocks += [f"### {escape(table.title)}", _table(table, links), *(escape(note) for note in notes_of(table))]
    descriptions = [_description(panel) for panel in section.panels]
    if descriptions and links:
        blocks.append(f"![{escape(' '.join(descriptions))}]({drawing_of(artefact, index).name}.png)")
    else:
        blocks += map(escape, descriptions)
    blocks += map(escape, section.notes)
    return [*blocks, _missing(section.missing)]


def _description(panel: Panel) -> str:
    return f"{panel.title}: {panel.alt}" if panel.title else panel.alt


def _missing(missing: list[Missing]) -> str:
    lines = [f"- {escape(item.what)}: {code(item.command)}" for item in missing]
    return "\n".join(["Missing:", "", *lines]) if lines else ""


def _table(table: Table, links: bool) -> str:
    head = [escape(f"{group}: {name}" if group else name) for group, name in table.columns]
    return grid([head, *([_cell(cell, links) for cell in row] for row in table.rows)], number_columns(table))


def _cell(cell: Cell, links: bool) -> str:
    text = escape(to_text(cell))
    match cell:
        case Measured():
            linked = f"[{text}](runs.md#{source_anchor(cell)})" if links else text
            return f"**{linked}**" if cell.best else linked
        case Published():
            return f"***{text}***" if cell.best else f"*{text}*"
        case Absent() | str():
            return text


def _verdict(verdict: Verdict, links: bool) -> str:
    runs = [f"[{escape(x)}](runs.md#{run_anchor(x)})" if links else escape(x) for x in verdict.run_ids]
    lines = [
        f"**{verdict.outcome}** in {code(verdict.setting)}",
        escape(verdict.numbers),
        escape(verdict.test),
        f"runs: {', '.join(runs) or 'none'}",
    ]
    return "\n".join(f"- {line}" for line in lines if line)


def _run_link(run: dict[str, str]) -> str:
    return f"[{escape(run['run'])}](#{run_anchor(run['run'])})"


def _run_of_number(run_id: str, run: dict[str, str] | None) -> str:
    if run is None:
        return escape(run_id)
    details = f"seed {run['seed']}, commit {run['commit'] or 'unknown'}, {run['started']}"
    command = f", {code(run['command'])}" if run["command"] else ""
    return f"{_run_link(run)}: {escape(details)}{command}"
