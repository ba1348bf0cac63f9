"""The report's page: one HTML file with everything in it, which needs neither network nor JavaScript."""

import re
from collections import Counter
from datetime import UTC, datetime
from html import escape

from analysis.artefacts.artefact import CONTRADICTED, SUPPORTED, UNDECIDED, Artefact, Claim, Section
from analysis.reading.runs import Runs
from analysis.report import html_sources as evidence
from analysis.report.html_elements import link, missing_list, panels_of, paragraphs, scrolling, setting_name, slug, table_of
from analysis.report.figures import drawing_of
from src.utils import paths
from analysis.report.provenance import describe_runs

TITLE = "AP-loss: tables and figures from the logs"
MARKS = {SUPPORTED: "✓", CONTRADICTED: "✗", UNDECIDED: "?"}
NO_RUN = "no run yet"
BOXES = "Coloured boxes are detections, with class and score; dashed white ones are the ground truth."
BUILT = re.compile(r"<time>.*?</time>")


def to_page(
    artefacts: list[Artefact],
    claims: list[Claim],
    runs: Runs,
    commands: dict[str, str],
    svgs: dict[str, str],
    files: dict[str, list[str]],
    last: str | None = None,
) -> str:
    """The page.

    Args:
        commands: the command that makes each run, by its id.
        svgs: the panels by the names of their files.
        files: the names of the files of each artefact, beside the page.
        last: the page as it is; it stays if nothing but its date would change.
    """
    samples = evidence.detections(runs)
    parts = {
        "Claims of the paper": _claims(claims, artefacts, runs),
        **{artefact.title: _artefact(artefact, claims, svgs, files.get(artefact.name, [])) for artefact in artefacts},
        "Sample detections": f"<p>{BOXES}</p>{samples}" if samples else "",
        "Where each number came from": evidence.sources(artefacts, runs, commands),
        "Runs": evidence.all_runs(runs, commands),
        "The paper": evidence.references(artefacts),
    }
    parts = {title: part for title, part in parts.items() if part}
    anchors = {title: slug(title) for title in parts} | {artefact.title: artefact.name for artefact in artefacts}
    entries = "".join(f"<li>{link(f'#{anchors[title]}', title)}</li>" for title in parts)
    body = "\n".join(
        f'<section id="{anchors[title]}"><h2>{escape(title)}</h2>\n{part}</section>' for title, part in parts.items()
    )
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{TITLE}</title>
<style>
{(paths.ANALYSIS / "report/page.css").read_text(encoding="utf-8")}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header>
<h1>{TITLE}</h1>
{_about(artefacts, runs, commands)}
</header>
<nav aria-label="Contents"><p>Contents</p><ol>{entries}</ol></nav>
<main id="content">
{body}
</main>
</body>
</html>
"""
    if last and BUILT.sub("", last) == BUILT.sub("", page):
        return last
    return BUILT.sub(f"<time>{datetime.now(UTC):%Y-%m-%d %H:%M} UTC</time>", page, count=1)


def _about(artefacts: list[Artefact], runs: Runs, commands: dict[str, str]) -> str:
    """What the runs are, in a few lines."""
    counting = [run for run in describe_runs(runs, commands) if run["counts"] == "yes"]
    settings = list(dict.fromkeys(s.setting for a in artefacts for s in a.sections if s.setting and s.run_ids))
    seeds = sorted({run["seed"] for run in counting if run["seed"]}, key=lambda seed: (len(seed), seed))
    commits = sorted({run["commit"] for run in counting if run["commit"]})
    left_out = f", {link('#left-out', f'{len(runs.left_out)} left out')}" if runs.left_out else ""
    lines = {
        "Built": "<time></time>",
        "Runs": f"{len(counting)}{left_out}",
        "Settings": ", ".join(map(setting_name, settings)),
        "Seeds": escape(_shortened(seeds)),
        "Commits": ", ".join(f"<code>{escape(commit)}</code>" for commit in commits),
    }
    items = "".join(f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in lines.items() if text)
    reading = (
        "Numbers of ours are means over seeds with their 95% intervals by Student’s t. Each links to the runs that it "
        "came from. Those of the paper are in italics. The best of each is bold."
    )
    return f'<dl>{items}</dl>\n<p class="note">{reading}</p>'


def _shortened(seeds: list[str]) -> str:
    return ", ".join(seeds) if len(seeds) <= 8 else f"{', '.join(seeds[:3])}, …, {seeds[-1]} ({len(seeds)})"


def _badge(outcome: str) -> str:
    mark = f'<span aria-hidden="true">{MARKS[outcome]}</span> ' if outcome in MARKS else ""
    return f'<span class="badge {slug(outcome)}">{mark}{escape(outcome)}</span>'


def _claims(claims: list[Claim], artefacts: list[Artefact], runs: Runs) -> str:
    if not claims:
        return ""
    titles = {artefact.name: artefact.title.split(":")[0] for artefact in artefacts}
    return "\n".join([_counts(claims), *(_claim(claim, titles, runs) for claim in claims)])


def _counts(claims: list[Claim]) -> str:
    """How many claims have which verdict in each setting."""
    outcomes = [SUPPORTED, CONTRADICTED, UNDECIDED, NO_RUN]
    rows = []
    for setting in dict.fromkeys(verdict.setting for claim in claims for verdict in claim.verdicts):
        found = Counter(verdict.outcome for claim in claims for verdict in claim.verdicts if verdict.setting == setting)
        found[NO_RUN] = len(claims) - found.total()
        cells = "".join(f'<td class="number">{found[outcome]}</td>' for outcome in outcomes)
        rows.append(f'<tr><th scope="row">{setting_name(setting)}</th>{cells}</tr>')
    if not rows:
        return f"<p>None of {len(claims)} claims has a run yet.</p>"
    head = "".join(f'<th scope="col" class="number">{_badge(outcome)}</th>' for outcome in outcomes)
    caption = f"What the runs say of {len(claims)} claims"
    head = f'<thead><tr><th scope="col">setting</th>{head}</tr></thead>'
    return scrolling(caption, f"<table><caption>{caption}</caption>{head}<tbody>{''.join(rows)}</tbody></table>")


def _claim(claim: Claim, titles: dict[str, str], runs: Runs) -> str:
    shown = link(f"#{claim.artefact}", titles[claim.artefact]) if claim.artefact in titles else escape(claim.artefact)
    verdicts = "".join(
        f"<li><p>{_badge(v.outcome)} {setting_name(v.setting)}</p>{paragraphs([v.numbers, v.test], 'numbers')}"
        f"<p class='note'>Runs: {evidence.run_links(v.run_ids, runs) or 'none'}</p></li>"
        for v in claim.verdicts
    )
    verdicts = f"<ul>{verdicts}</ul>" if verdicts else f"<p>{_badge(NO_RUN)}</p>"
    # The anchor is within: a link to it opens what it is in.
    return (
        f'<details class="claim"><summary>{_badges(claim)} <h3>{escape(claim.text)}</h3></summary>'
        f'<div id="claim-{escape(claim.name)}"><p class="note">{escape(claim.where)}; here {shown}</p>'
        f"{verdicts}{missing_list(claim.missing)}</div></details>"
    )


def _badges(claim: Claim) -> str:
    """Each outcome that the claim has in some setting."""
    return " ".join(dict.fromkeys(_badge(verdict.outcome) for verdict in claim.verdicts)) or _badge(NO_RUN)


def _artefact(artefact: Artefact, claims: list[Claim], svgs: dict[str, str], files: list[str]) -> str:
    blocks = [f'<p class="caption">{escape(artefact.caption)}</p>']
    for claim in claims:
        if claim.artefact == artefact.name:
            blocks.append(f'<p class="of-claim">{_badges(claim)} {link(f"#claim-{claim.name}", claim.text)}</p>')
    for place, section in enumerate(artefact.sections):
        blocks.append(_section(artefact, place, section, svgs))
    links = " ".join(link(name, name) for name in files)
    return "\n".join([*blocks, f'<p class="files">Files: {links}</p>' if files else ""])


def _section(artefact: Artefact, place: int, section: Section, svgs: dict[str, str]) -> str:
    panels = [svgs[name] for name in drawing_of(artefact, place).svgs]
    blocks = [f"<h3>{setting_name(section.setting)}</h3>"] if section.setting else []
    blocks += [table_of(table) for table in section.tables]
    blocks.append(panels_of([panel.title for panel in section.panels], panels))
    blocks += [paragraphs(section.notes, "note"), missing_list(section.missing)]
    return "\n".join(filter(None, blocks))
