"""Artefacts, claims and runs as Markdown, for files and for the terminal."""

import re

from analysis.artefacts.artefact import Absent, Artefact, Cell, Claim, Measured, Missing, Published, Section, Table
from analysis.reading.runs import Runs
from analysis.report.figures import drawing_of
from analysis.artefacts.number_format import notes_of, to_text
from analysis.report.provenance import describe_runs, run_anchor, source_anchor, sources_of

NOT_HERE = "the code for it is not here yet"


def to_markdown(artefact: Artefact, links: bool = False) -> str:
    """An artefact as Markdown.

    Args:
        links: whether numbers link to the runs that they were measured by, in runs.md, and figures are shown.
    """
    blocks = [f"# {escape(artefact.title)}", escape(artefact.caption)]
    for place, section in enumerate(artefact.sections):
        blocks += _section(artefact, place, section, links)
    return "\n\n".join(filter(None, blocks)) + "\n"


def _section(artefact: Artefact, place: int, section: Section, links: bool) -> list[str]:
    blocks = [f"## `{section.setting}`"] if section.setting else []
    for table in section.tables:
        blocks += [f"### {escape(table.title)}", _table(table, links), *(escape(note) for note in notes_of(table))]
    if section.panels and links:
        words = " ".join(f"{panel.title}: {panel.alt}" if panel.title else panel.alt for panel in section.panels)
        blocks.append(f"![{escape(words)}]({drawing_of(artefact, place).name}.png)")
    elif section.panels:
        blocks += [escape(f"{panel.title}: {panel.alt}" if panel.title else panel.alt) for panel in section.panels]
    blocks += [escape(note) for note in section.notes]
    return [*blocks, _missing(section.missing)]


def _missing(missing: list[Missing]) -> str:
    lines = [f"- {escape(m.what)}: {f'`{m.command}`' if m.command else NOT_HERE}" for m in missing]
    return "\n".join(["Missing:", "", *lines]) if lines else ""


def _table(table: Table, links: bool) -> str:
    head = [f"{group}: {name}" if group else name for group, name in table.columns]
    numbers = [any(not isinstance(row[at], str) for row in table.rows) for at in range(len(head))]
    lines = [[escape(name) for name in head], *([_cell(cell, links) for cell in row] for row in table.rows)]
    return grid(lines, numbers)


def grid(lines: list[list[str]], numbers: list[bool]) -> str:
    """A Markdown table, its columns of one width in the source too; `numbers` are set to the right."""
    widths = [max(3, *(len(line[at]) for line in lines)) for at in range(len(numbers))]
    looks = list(zip(widths, numbers, strict=True))
    padded = [
        [text.rjust(width) if right else text.ljust(width) for text, (width, right) in zip(line, looks, strict=True)]
        for line in lines
    ]
    rule = [f"{'-' * (width - 1)}{':' if right else '-'}" for width, right in looks]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])


def _cell(cell: Cell, links: bool) -> str:
    text = escape(to_text(cell))
    match cell:
        case Measured():
            linked = f"[{text}](runs.md#{source_anchor(cell)})" if links else text
            return f"**{linked}**" if cell.best else linked
        case Published():
            return f"***{text}***" if cell.best else f"*{text}*"
        case Absent():
            return text
    return text


def escape(text: str) -> str:
    """Text in which Markdown finds no markup."""
    return re.sub(r"([\\|*`<\[\]])", r"\\\1", " ".join(str(text).split()))


def claims_to_markdown(claims: list[Claim], links: bool = False) -> str:
    """What the runs say of each claim of the paper."""
    blocks = ["# Claims of the paper"]
    for claim in claims:
        blocks += [f"## {escape(claim.text)}", escape(f"{claim.where}; see {claim.artefact}.")]
        for verdict in claim.verdicts:
            shown = [f"[{x}](runs.md#{run_anchor(x)})" if links else x for x in verdict.run_ids]
            lines = [f"**{verdict.outcome}** in `{verdict.setting}`", escape(verdict.numbers), escape(verdict.test)]
            blocks.append("\n".join(f"- {line}" for line in [*lines, f"runs: {', '.join(shown) or 'none'}"] if line))
        blocks += ["No run of it yet."] if not claim.verdicts else []
        blocks.append(_missing(claim.missing))
    return "\n\n".join(filter(None, blocks)) + "\n"


def runs_to_markdown(artefacts: list[Artefact], runs: Runs, commands: dict[str, str]) -> str:
    """The list of runs, and for each number the runs that it was measured by."""
    described = {run["run"]: run for run in describe_runs(runs, commands)}
    blocks = ["# Where each number came from"]
    for anchor, source in sources_of(artefacts).items():
        where = f", `{source.setting}`" if source.setting else ""
        blocks.append(f'<a id="{anchor}"></a>**{escape(source.title)}**{where}')
        blocks.append("\n".join(f"- {_of_run(run_id, described.get(run_id))}" for run_id in source.run_ids))
    blocks.append("# Runs")
    head = ["run", "state", "recipe", "loss", "knobs", "seed", "commit", "host", "started", "resumed", "command"]
    lines = [
        [f'<a id="{run_anchor(run["run"])}"></a>{escape(run["run"])}', *(_run_cell(run, key) for key in head[1:])]
        for run in described.values()
    ]
    blocks.append(grid([head, *lines], [False] * len(head)) if lines else "No runs.")
    left_out = [f"- {escape(run.run_id)}: {escape(run.reason or run.state)}" for run in runs.left_out]
    left_out += [f"- {escape(line)}" for line in runs.unreadable]
    return "\n\n".join([*blocks, *(["# Left out", "\n".join(left_out)] if left_out else [])]) + "\n"


def _run_cell(run: dict[str, str], key: str) -> str:
    # A bar ends the cell even in code.
    return f"`{run[key]}`".replace("|", "\\|") if key == "command" and run[key] else escape(run[key])


def _of_run(run_id: str, run: dict[str, str] | None) -> str:
    if run is None:
        return escape(run_id)
    about = f"seed {run['seed']}, commit {run['commit'] or 'unknown'}, {run['started']}"
    command = f", `{run['command']}`" if run["command"] else ""
    return f"[{escape(run_id)}](#{run_anchor(run_id)}): {escape(about)}{command}"
