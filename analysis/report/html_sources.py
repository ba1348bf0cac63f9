"""The end of the report's page: sample detections, the source of each number, all runs, and the paper."""

import base64
import io
import logging
from collections.abc import Iterable
from html import escape
from pathlib import Path

from analysis.artefacts.artefact import Artefact, Published
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import LOSS_TITLES, Setting, settings
from analysis.report.contents import ReportContents
from analysis.report.html_elements import command_code, link, scroll_box, setting_code
from analysis.report.provenance import PAPER, RUN_COLUMNS, Source, describe_runs, paper_anchor, run_anchor, sources_of
from src.utils.text import counted

logger = logging.getLogger(__name__)
IMAGE_WIDTH = 1200  # pixels, at most
MOST_OPEN_RUNS = 8  # of a number; a longer list is folded
COLUMNS = [*RUN_COLUMNS, "command"]
COLUMN_TITLES = {"started": "started (UTC)"}  # where they are not the columns' names
SOURCE_COLUMNS = ["run", "seed", "commit", "started", "command"]


def in_order_of_sections(found: Iterable[str], runs: Runs) -> list[str]:
    """Return settings, each once, in the order of an artefact's sections."""
    places = {setting.overrides: place for place, setting in enumerate(settings(runs.counting))}
    return sorted(dict.fromkeys(found), key=lambda setting: places.get(setting, len(places)))


def run_links(run_ids: list[str], runs: Runs) -> str:
    """Return the ids of runs, each a link to its row in the list of runs if that has it."""
    listed = {run.run_id for run in runs.all}
    return ", ".join(link(f"#{run_anchor(x)}", x, "run") if x in listed else escape(x) for x in run_ids)


def detections_part(runs: Runs) -> str:
    """Return sample detections of one run for each loss: of standard options, and of the lowest seed."""
    figures = []
    for loss, (setting, run, jpeg) in runs_with_detections(runs).items():
        caption = f"{LOSS_TITLES[loss]}, {setting_code(setting.overrides)}, seed {run.config['seed']}, run "
        figures.append(_detections_figure(LOSS_TITLES[loss], jpeg, caption + run_links([run.run_id], runs)))
    return "\n".join(figures)


def runs_with_detections(runs: Runs) -> dict[str, tuple[Setting, Run, bytes]]:
    """Return by loss the run whose detections are shown, with its setting and the picture as JPEG."""
    shown: dict[str, tuple[Setting, Run, bytes]] = {}
    for setting in settings(runs.counting):
        for loss in LOSS_TITLES:
            if loss in shown:
                continue
            pictures = ((run, run.image("detections")) for run in setting.select(loss=loss))
            run, file = next(((run, file) for run, file in pictures if file), (None, None))
            if run and file and (jpeg := _read_as_jpeg(file)):
                shown[loss] = setting, run, jpeg
    return {loss: shown[loss] for loss in LOSS_TITLES if loss in shown}


def _detections_figure(loss: str, jpeg: bytes, caption: str) -> str:
    alt = f"Test images with the boxes detected after training with {loss}, their classes and scores"
    data = base64.b64encode(jpeg).decode()
    image = f'<img alt="{escape(alt)}" src="data:image/jpeg;base64,{data}">'
    box = scroll_box(f"Detections with {loss}", image)
    return f'<figure class="detections">{box}<figcaption>{caption}</figcaption></figure>'


def _read_as_jpeg(file: Path) -> bytes | None:
    """Return an image as JPEG, no wider than the page shows it; None, with a warning, if it cannot be read.

    One that is so already, as in an archive, is not changed.
    """
    from PIL import Image

    try:
        with Image.open(file) as source:
            if source.format == "JPEG" and source.width <= IMAGE_WIDTH:
                return file.read_bytes()
            image = source.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        logger.warning("cannot show the image %s: %s", file, error)
        return None
    image.thumbnail((IMAGE_WIDTH, 4 * IMAGE_WIDTH))
    jpeg = io.BytesIO()
    image.save(jpeg, "jpeg", quality=82, optimize=True)
    return jpeg.getvalue()


def sources_part(contents: ReportContents) -> str:
    """Return each set of runs that numbers were measured by, which is what these numbers link to."""
    rows = {row["run"]: row for row in describe_runs(contents.runs, contents.commands)}
    return "\n".join(_source(anchor, source, rows) for anchor, source in sources_of(contents.artefacts).items())


def _source(anchor: str, source: Source, rows: dict[str, dict[str, str]]) -> str:
    numbers = "".join(
        f"<li>{escape(row)}: {escape(', '.join(columns))}</li>" for row, columns in source.numbers.items()
    )
    count = len(source.run_ids)
    setting = f" {setting_code(source.setting)}" if source.setting else ""
    listed = [rows.get(run_id, {"run": run_id}) for run_id in source.run_ids]
    body = "\n".join(_source_row(row) for row in listed)
    return (
        f'<div class="source" id="{anchor}"><ul>{numbers}</ul>\n'
        f"<details{' open' if count <= MOST_OPEN_RUNS else ''}>"
        f"<summary>{counted(count, 'run')}{setting}</summary>\n"
        f"{_run_table(f'Runs of {source.title}', SOURCE_COLUMNS, body, caption_class='unseen')}</details></div>"
    )


def _source_row(row: dict[str, str]) -> str:
    """Return a run of a number, which links to the list of runs if that has it."""
    run_id = row["run"]
    is_listed = len(row) > 1
    name = link(f"#{run_anchor(run_id)}", run_id, "run") if is_listed else escape(run_id)
    return f'<tr><th scope="row" class="run">{name}</th>{_run_cells(row, SOURCE_COLUMNS[1:])}</tr>'


def runs_part(contents: ReportContents) -> str:
    """Return all runs, and what the tables and figures leave out, with the reason."""
    runs = contents.runs
    rows = "\n".join(_listed_row(row) for row in describe_runs(runs, contents.commands))
    blocks = [_run_table("All runs, by id", COLUMNS, rows) if rows else "<p>No runs yet.</p>"]
    items = [f"<li>{run_links([run.run_id], runs)}: {escape(run.reason or run.state)}</li>" for run in runs.left_out]
    items += [f"<li>{escape(line)}</li>" for line in runs.unreadable]
    if items:
        blocks.append(f'<h3 id="left-out">Left out</h3><ul class="long">{"".join(items)}</ul>')
    return "\n".join(blocks)


def _listed_row(row: dict[str, str]) -> str:
    """Return a run of the list of runs, which links to W&B if it was read there."""
    run_id, source = row["run"], row["source"]
    name = link(source, run_id) if source.startswith(("https://", "http://")) else escape(run_id)
    cells = _run_cells(row, COLUMNS[1:])
    return f'<tr id="{run_anchor(run_id)}"><th scope="row" class="run">{name}</th>{cells}</tr>'


def _run_table(caption: str, columns: list[str], body: str, caption_class: str = "") -> str:
    look = f' class="{caption_class}"' if caption_class else ""
    head = "".join(f'<th scope="col">{COLUMN_TITLES.get(column, column)}</th>' for column in columns)
    table = (
        f"<table><caption{look}>{escape(caption)}</caption><thead><tr>{head}</tr></thead>\n"
        f"<tbody>{body}</tbody></table>"
    )
    return scroll_box(caption, table)


def _run_cells(row: dict[str, str], columns: list[str]) -> str:
    cells = []
    for column in columns:
        text = row.get(column, "")
        content = command_code(text) if column == "command" and text else escape(text)
        cells.append(f'<td class="text {column}">{content}</td>')
    return "".join(cells)


def references_part(artefacts: list[Artefact]) -> str:
    """Return the paper, and those of its tables that published numbers are from."""
    tables = [table for artefact in artefacts for section in artefact.sections for table in section.tables]
    cells = [cell for table in tables for row in table.rows for cell in row]
    names = sorted({cell.where for cell in cells if isinstance(cell, Published)})
    items = "".join(f'<li id="{paper_anchor(name)}">{escape(name)}</li>' for name in names)
    return f"<p>{escape(PAPER)}.</p>" + (f'<p>Its numbers are from:</p><ul class="long">{items}</ul>' if items else "")
