"""The end of the report's page: detections, where each number came from, the runs, and what the paper's numbers are."""

import base64
import io
import logging
from html import escape
from pathlib import Path

from analysis.artefacts.artefact import Artefact, Published
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import LOSS_TITLES, settings
from analysis.report.html_elements import command_line, link, scrolling, setting_name
from analysis.report.provenance import PAPER, describe_runs, paper_anchor, run_anchor, sources_of

logger = logging.getLogger(__name__)
WIDEST = 1200  # pixels of an image on the page
MANY = 8  # runs, the list of which is shown on demand
COLUMNS = {
    "run": "run", "state": "state", "recipe": "recipe", "loss": "loss", "knobs": "knobs", "seed": "seed",
    "commit": "commit", "host": "host", "started": "started (UTC)", "resumed": "resumed", "command": "command",
}
OF_A_NUMBER = ["run", "seed", "commit", "started", "command"]


def run_links(run_ids: list[str], runs: Runs) -> str:
    """Runs by their ids, each a link to its row in the list of runs."""
    known = {run.run_id for run in runs.all}
    return ", ".join(link(f"#{run_anchor(x)}", x, "run") if x in known else escape(x) for x in run_ids)


def detections(runs: Runs) -> str:
    """Sample detections of one run for each loss, of the lowest seed with the usual knobs."""
    found: dict[str, str] = {}
    for setting in settings(run for run in runs.counting if _picture(run)):
        for loss, title in LOSS_TITLES.items():
            for run in setting.select(loss=loss)[:1]:
                picture = None if loss in found else _jpeg(Path(_picture(run)))
                if picture:
                    words = f"{title}, {setting_name(setting.overrides)}, seed {run.config['seed']}, run "
                    alt = f"Test images with the boxes detected after training with {title}, their classes and scores"
                    image = f'<img alt="{escape(alt)}" src="data:image/jpeg;base64,{picture}">'
                    found[loss] = (
                        f'<figure class="detections">{scrolling(f"Detections with {title}", image)}'
                        f"<figcaption>{words}{run_links([run.run_id], runs)}</figcaption></figure>"
                    )
    return "\n".join(found[loss] for loss in LOSS_TITLES if loss in found)


def _picture(run: Run) -> str | None:
    logged = run.objects.get("detections")
    path = logged.get("path") if isinstance(logged, dict) else None
    return path if path and Path(path).is_file() else None


def _jpeg(file: Path) -> str | None:
    """An image as the page holds it: no wider than there is room for, in base64."""
    from PIL import Image

    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        logger.warning("%s is no image that can be shown: %s", file, error)
        return None
    image.thumbnail((WIDEST, 4 * WIDEST))
    written = io.BytesIO()
    image.save(written, "jpeg", quality=82, optimize=True)
    return base64.b64encode(written.getvalue()).decode()


def sources(artefacts: list[Artefact], runs: Runs, commands: dict[str, str]) -> str:
    """For each set of runs that numbers were measured by an entry to which these numbers link."""
    described = {run["run"]: run for run in describe_runs(runs, commands)}
    entries = []
    for anchor, source in sources_of(artefacts).items():
        where = f" {setting_name(source.setting)}" if source.setting else ""
        rows = [described.get(run_id, {"run": run_id}) for run_id in source.run_ids]
        count = f"{len(rows)} run{'s' * (len(rows) != 1)}"
        caption = f"Runs of {source.title}"
        numbers = "".join(
            f"<li>{escape(row)}: {escape(', '.join(columns))}</li>" for row, columns in source.numbers.items()
        )
        entries.append(
            f'<div class="source" id="{anchor}"><ul>{numbers}</ul>'
            f"<details{' open' if len(rows) <= MANY else ''}><summary>{count}{where}</summary>\n"
            f"{run_table(caption, rows, OF_A_NUMBER, quiet=True)}</details></div>"
        )
    return "\n".join(entries)


def run_table(
    caption: str, rows: list[dict[str, str]], keys: list[str], anchors: bool = False, quiet: bool = False
) -> str:
    """A table of runs; with `anchors` its rows are what links to runs lead to, without them they link there."""
    head = "".join(f'<th scope="col">{COLUMNS[key]}</th>' for key in keys)
    body = "\n".join(_run(row, keys, anchors) for row in rows)
    hidden = ' class="unseen"' if quiet else ""
    caption_of = f"<caption{hidden}>{escape(caption)}</caption>"
    table = f"<table>{caption_of}<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"
    return scrolling(caption, table)


def _run(row: dict[str, str], keys: list[str], anchors: bool) -> str:
    anchor = run_anchor(row["run"])
    known = len(row) > 1
    name = escape(row["run"]) if anchors or not known else link(f"#{anchor}", row["run"], "run")
    if anchors and row["source"].startswith(("https://", "http://")):
        name = link(row["source"], row["run"])
    cells = [f'<th scope="row" class="run">{name}</th>']
    for key in keys[1:]:
        text = row.get(key, "")
        inner = command_line(text) if key == "command" and text else escape(text)
        cells.append(f'<td class="text">{inner}</td>')
    of_row = f' id="{anchor}"' if anchors else ""
    return f"<tr{of_row}>{''.join(cells)}</tr>"


def all_runs(runs: Runs, commands: dict[str, str]) -> str:
    """All runs, and what was left out of the tables and figures with the reason."""
    rows = describe_runs(runs, commands)
    blocks = [run_table("All runs, by id", rows, list(COLUMNS), anchors=True)] if rows else ["<p>No runs yet.</p>"]
    items = [f"<li>{run_links([r.run_id], runs)}: {escape(r.reason or r.state)}</li>" for r in runs.left_out]
    items += [f"<li>{escape(line)}</li>" for line in runs.unreadable]
    if items:
        blocks.append(f'<h3 id="left-out">Left out</h3><ul class="long">{"".join(items)}</ul>')
    return "\n".join(blocks)


def references(artefacts: list[Artefact]) -> str:
    """The tables of the paper that its numbers are from."""
    cells = [c for a in artefacts for s in a.sections for t in s.tables for row in t.rows for c in row]
    places = sorted({cell.where for cell in cells if isinstance(cell, Published)})
    items = "".join(f'<li id="{paper_anchor(place)}">{escape(PAPER)}, {escape(place)}.</li>' for place in places)
    return f'<ul class="long">{items}</ul>' if places else f"<p>{escape(PAPER)}.</p>"
