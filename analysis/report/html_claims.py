"""The claims on the report's page: how many have which verdict, and each with its verdicts."""

from collections import Counter
from html import escape

from analysis.artefacts.artefact import CONTRADICTED, SUPPORTED, UNDECIDED, Artefact, Claim, Verdict
from analysis.report.contents import ReportContents
from analysis.report.html_elements import link, missing_box, paragraphs, scroll_box, setting_code, slug
from analysis.report.html_sources import in_order_of_sections, run_links

NO_RUNS = "no runs yet"
OUTCOMES = [SUPPORTED, CONTRADICTED, UNDECIDED, NO_RUNS]
MARKS = {SUPPORTED: "✓", CONTRADICTED: "✗", UNDECIDED: "?"}


def claims_part(contents: ReportContents) -> str:
    """Return all claims, below a table that counts their verdicts; nothing if there are no claims."""
    claims = contents.claims
    return "\n".join([_verdict_counts(contents), *(_claim(claim, contents) for claim in claims)]) if claims else ""


def claim_links(artefact: Artefact, claims: list[Claim]) -> list[str]:
    """Return the claims that an artefact shows: their outcomes, and links to them."""
    return [
        f'<p class="of-claim">{_badges(claim)} {link(f"#claim-{claim.name}", claim.text)}</p>'
        for claim in claims
        if claim.artefact == artefact.name
    ]


def _badge(outcome: str) -> str:
    mark = f'<span aria-hidden="true">{MARKS[outcome]}</span> ' if outcome in MARKS else ""
    return f'<span class="badge {slug(outcome)}">{mark}{escape(outcome)}</span>'


def _badges(claim: Claim) -> str:
    """Return each outcome that the claim has in some setting."""
    found = {verdict.outcome for verdict in claim.verdicts}
    return " ".join(_badge(outcome) for outcome in OUTCOMES if outcome in found) or _badge(NO_RUNS)


def _verdict_counts(contents: ReportContents) -> str:
    """Return a table of how many claims have which outcome in each setting."""
    claims = contents.claims
    verdicts = [verdict for claim in claims for verdict in claim.verdicts]
    if not verdicts:
        return f"<p>None of {len(claims)} claims has a run yet.</p>"
    rows = []
    for setting in in_order_of_sections((verdict.setting for verdict in verdicts), contents.runs):
        counts = Counter(verdict.outcome for verdict in verdicts if verdict.setting == setting)
        counts[NO_RUNS] = sum(setting in claim.about for claim in claims) - counts.total()
        cells = "".join(f'<td class="number">{counts[outcome]}</td>' for outcome in OUTCOMES)
        rows.append(f'<tr><th scope="row">{setting_code(setting)}</th>{cells}</tr>')
    caption = f"Verdicts on {len(claims)} claims by setting"
    badges = "".join(f'<th scope="col" class="number">{_badge(outcome)}</th>' for outcome in OUTCOMES)
    head = f'<thead><tr><th scope="col">setting</th>{badges}</tr></thead>'
    body = f"<tbody>{''.join(rows)}</tbody>"
    return scroll_box(caption, f'<table class="verdicts"><caption>{caption}</caption>{head}{body}</table>')


def _claim(claim: Claim, contents: ReportContents) -> str:
    titles = {artefact.name: artefact.title.split(":")[0] for artefact in contents.artefacts}
    name = claim.artefact
    shown_in = link(f"#{name}", titles[name]) if name in titles else escape(name)
    verdicts = "".join(_verdict(verdict, contents) for verdict in claim.verdicts)
    verdicts = f"<ul>{verdicts}</ul>" if verdicts else f"<p>{_badge(NO_RUNS)}</p>"
    # The anchor is inside the details element, as a link to something inside opens it.
    return (
        '<details class="claim">\n'
        f"<summary>{_badges(claim)} <h3>{escape(claim.text)}</h3></summary>\n"
        f'<div id="claim-{escape(claim.name)}"><p class="note">{escape(claim.where)}; here {shown_in}</p>'
        f"{verdicts}{missing_box(claim.missing)}</div>\n"
        "</details>"
    )


def _verdict(verdict: Verdict, contents: ReportContents) -> str:
    return (
        f"<li><p>{_badge(verdict.outcome)} {setting_code(verdict.setting)}</p>"
        f"{paragraphs([verdict.numbers, verdict.test], 'numbers')}"
        f'<p class="note">Runs: {run_links(verdict.run_ids, contents.runs) or "none"}</p></li>'
    )
