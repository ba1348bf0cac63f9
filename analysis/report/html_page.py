"""The report's page: one HTML file with everything in it, which needs neither network nor JavaScript."""

import re
from datetime import UTC, datetime
from html import escape

from analysis.artefacts.artefact import Artefact
from analysis.report.contents import NOT_SHOWN, ReportContents
from analysis.report.html_claims import claim_links, claims_part
from analysis.report.html_elements import (
    artefact_table,
    link,
    missing_box,
    panel_figures,
    paragraphs,
    setting_code,
    slug,
)
from analysis.report.html_sources import (
    detections_part,
    in_order_of_sections,
    references_part,
    runs_part,
    sources_part,
)
from analysis.report.png_pdf_svg import drawing_of
from analysis.report.provenance import describe_runs
from src.utils import paths

TITLE = "AP-loss: tables and figures from the logs"
ABOUT_NUMBERS = (
    "Each of our numbers is a mean over seeds with its 95% interval by Student’s t, and links to its runs. The paper’s "
    "numbers are in italics. Among numbers that can be compared, the best of ours and the best of the paper’s are bold."
)
ABOUT_BOXES = "Coloured boxes are detections, with class and score; dashed white boxes are the ground truth."
BUILT = re.compile(r"<time>.*?</time>")
MOST_SEEDS = 8  # all listed on top
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header>
<h1>{title}</h1>
{overview}
</header>
<nav aria-label="Contents"><p>Contents</p><ol>{entries}</ol></nav>
<main id="content">
{body}
</main>
</body>
</html>
"""


def to_html(contents: ReportContents, svgs: dict[str, str], files: dict[str, list[str]], previous: str = "") -> str:
    """Return the page.

    Args:
        svgs: the panels by the names of their files.
        files: the names of each artefact's files, which are in the folder of the page.
        previous: the page as it is; it is returned if nothing but its date would change.
    """
    parts = _parts(contents, svgs, files)
    anchors = {title: slug(title) for title in parts} | {a.title: a.name for a in contents.artefacts}
    page = PAGE.format(
        title=TITLE,
        style=(paths.ANALYSIS / "report/html_page.css").read_text(encoding="utf-8"),
        overview=_overview(contents),
        entries="".join(f"<li>{link(f'#{anchors[title]}', title)}</li>" for title in parts),
        body="\n".join(
            f'<section id="{anchors[title]}"><h2>{escape(title)}</h2>\n{part}</section>'
            for title, part in parts.items()
        ),
    )
    # As it is written: half a surrogate pair, as in the name of a file that is not UTF-8, becomes its code.
    page = page.encode(errors="backslashreplace").decode()
    if BUILT.sub("", previous) == BUILT.sub("", page):
        return previous
    return BUILT.sub(f"<time>{datetime.now(UTC):%Y-%m-%d %H:%M} UTC</time>", page, count=1)


def _parts(contents: ReportContents, svgs: dict[str, str], files: dict[str, list[str]]) -> dict[str, str]:
    """Return the parts of the page that have any content, by title."""
    detections = detections_part(contents.runs)
    parts = {"Claims of the paper": claims_part(contents)}
    for artefact in contents.artefacts:
        blocks = [
            f'<p class="caption">{escape(artefact.caption)}</p>',
            *claim_links(artefact, contents.claims),
            *(_section(artefact, index, svgs) for index in range(len(artefact.sections))),
            _not_shown(artefact),
            _file_links(files.get(artefact.name, [])),
        ]
        parts[artefact.title] = "\n".join(filter(None, blocks))
    parts |= {
        "Sample detections": f"<p>{ABOUT_BOXES}</p>{detections}" if detections else "",
        "Source of each number": sources_part(contents),
        "Runs": runs_part(contents),
        "The paper": references_part(contents.artefacts),
    }
    return {title: part for title, part in parts.items() if part}


def _overview(contents: ReportContents) -> str:
    """Return what the runs are, in a few lines."""
    runs = contents.runs
    counting = [run for run in describe_runs(runs, contents.commands) if run["counts"] == "yes"]
    sections = [section for artefact in contents.artefacts for section in artefact.sections]
    settings = in_order_of_sections(
        (section.setting for section in sections if section.setting and section.run_ids), runs
    )
    seeds = sorted(
        {run["seed"] for run in counting if run["seed"] and not run["needed by"]}, key=lambda seed: (len(seed), seed)
    )
    commits = sorted({run["commit"] for run in counting if run["commit"]})
    left_out = f", {link('#left-out', f'{len(runs.left_out)} left out')}" if runs.left_out else ""
    lines = {
        "Built": "<time></time>",
        "Runs": f"{len(counting)}{left_out}",
        "Seeds": escape(_shorten(seeds)),
        "Commits": ", ".join(f"<code>{escape(commit)}</code>" for commit in commits),
        "Settings": "<br>".join(map(setting_code, settings)),
    }
    items = "".join(f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in lines.items() if text)
    return f'<dl>{items}</dl>\n<p class="note">{ABOUT_NUMBERS}</p>'


def _shorten(seeds: list[str]) -> str:
    return ", ".join(seeds) if len(seeds) <= MOST_SEEDS else f"{', '.join(seeds[:3])}, …, {seeds[-1]} ({len(seeds)})"


def _section(artefact: Artefact, index: int, svgs: dict[str, str]) -> str:
    """Return the tables and panels of one setting, and what is missing there."""
    section = artefact.sections[index]
    blocks = [
        f"<h3>{setting_code(section.setting)}</h3>" if section.setting else "",
        *map(artefact_table, section.tables),
        panel_figures(
            [panel.title for panel in section.panels], [svgs[name] for name in drawing_of(artefact, index).svgs]
        ),
        paragraphs(section.notes, "note"),
        missing_box(section.missing),
    ]
    return "\n".join(filter(None, blocks))


def _not_shown(artefact: Artefact) -> str:
    listed = ", ".join(map(setting_code, artefact.not_shown))
    return f'<p class="note">{NOT_SHOWN}: {listed}.</p>' if listed else ""


def _file_links(names: list[str]) -> str:
    links = " ".join(link(name, name) for name in names)
    return f'<p class="files">Files: {links}</p>' if names else ""
