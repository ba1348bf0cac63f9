"""The report's page in a real browser: on a desktop, on a phone, light and dark, without JavaScript."""

import re
from dataclasses import replace

import pytest

from analysis.__main__ import ARTEFACTS, build
from analysis.claims import judge_claims
from analysis.reading.local import read_local
from analysis.reading.runs import Runs
from analysis.reading.settings import command_of
from analysis.report.contents import ReportContents
from analysis.report.html_page import to_html
from analysis.report.png_pdf_svg import drawings_of, write_svg
from analysis.report.report import write_report
from src.utils import paths
from tests.analysis.artefacts.test_golden import GOLDEN
from tests.analysis.logged import every_kind_of_run, run_of
from tests.analysis.report.samples import ODD_COMMAND, odd_contents

pytestmark = pytest.mark.browser
VIEWS = {"desktop": (1280, 900), "phone": (390, 844)}
# Contrast of text with its background, as WCAG 2 computes it; the page has no translucent backgrounds.
LOW_CONTRAST = """() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const background = node => {
    for (; node; node = node.parentElement) {
      const colour = rgb(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return matchMedia('(prefers-color-scheme: dark)').matches ? [0, 0, 0] : [255, 255, 255];
  };
  const low = [];
  for (const node of document.querySelectorAll('body *')) {
    const hasText = [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim());
    if (!hasText || node.closest('svg') || node.matches('.skip')) continue;
    const [a, b] = [luminance(rgb(getComputedStyle(node).color)), luminance(background(node))]
      .sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) low.push(`${node.className} ${node.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return low.slice(0, 5);
}"""
DEAD_LINKS = """() => [...document.querySelectorAll('a[href]')].map(a => a.getAttribute('href'))
  .filter(href => href.startsWith('#') && !document.getElementById(href.slice(1)))"""
REPEATED_IDS = """() => { const ids = [...document.querySelectorAll('[id]')].map(node => node.id);
  return ids.filter((id, index) => ids.indexOf(id) !== index); }"""
# How much wider than the window the page is, and what reaches beyond the window outside a box that scrolls.
OVERFLOW = """() => { const width = document.documentElement.clientWidth;
  return [document.documentElement.scrollWidth - width,
    [...document.querySelectorAll('body *')].filter(node => !node.closest('.scroll, svg, .unseen, .skip') &&
      node.getBoundingClientRect().right > width + 1).map(node => node.outerHTML.slice(0, 80)).slice(0, 5)]; }"""
UNNAMED = """() => [
  ...[...document.querySelectorAll('img')].filter(image => !image.alt || !image.complete || !image.naturalWidth),
  ...[...document.querySelectorAll('svg')].filter(svg => !svg.getAttribute('aria-label')),
  ...[...document.querySelectorAll('table')].filter(table => !table.caption || !table.caption.textContent),
  ...[...document.querySelectorAll('th')].filter(head => !head.scope),
].map(node => node.outerHTML.slice(0, 80))"""
SELECTED_COMMANDS = """() => [...document.querySelectorAll('code.command')].map(node => {
  getSelection().selectAllChildren(node); return getSelection().toString(); })"""


def contents_of(runs):
    commands = {run.run_id: command_of(run) for run in runs.all}
    return ReportContents(artefacts=build(ARTEFACTS, runs), claims=judge_claims(runs), runs=runs, commands=commands)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """All artefacts, from logs and runs of every kind, with a picture, and something left out."""
    golden = read_local(GOLDEN)
    picture = {"detections": {"_type": "image-file", "path": str(paths.ROOT / "docs/detections.png")}}
    runs = [run_of(config, rows) for config, rows in every_kind_of_run()]
    known = {run.run_id for run in golden.all}
    runs = [replace(run, objects=run.objects | picture) for run in runs if run.run_id not in known]
    contents = contents_of(Runs([*golden.all, *runs], ["outputs/x/run-x.wandb is not a log of W&B; left out"]))
    # Without the PNG and PDF files of a whole report, which the page does not show and which take longest.
    folder = tmp_path_factory.mktemp("page")
    for artefact in contents.artefacts:
        for drawing in drawings_of(artefact):
            for panel, name in zip(drawing.panels, drawing.svgs, strict=True):
                write_svg(panel, folder / name)
    svgs = {file.name: file.read_text(encoding="utf-8") for file in folder.glob("*.svg")}
    files = {artefact.name: [f"{artefact.name}.md"] for artefact in contents.artefacts}
    (folder / "index.html").write_text(to_html(contents, svgs, files), encoding="utf-8")
    return folder / "index.html"


def open_page(browser, file, size=VIEWS["desktop"], **options):
    """Open a page; return it, and a list of all that the browser complains about or requests from elsewhere."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
    view, complaints = context.new_page(), []

    def note_message(message):
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    def note_request(request):
        if not request.url.startswith(("file:", "data:")):
            complaints.append(request.url)

    view.on("console", note_message)
    view.on("pageerror", lambda error: complaints.append(str(error)))
    view.on("request", note_request)
    view.on("requestfailed", lambda request: complaints.append(request.url))
    view.goto(file.as_uri())
    view.wait_for_load_state("load")
    return view, complaints


@pytest.mark.slow
@pytest.mark.parametrize("size", VIEWS.values(), ids=VIEWS)
def test_the_page_is_complete_and_fits(browser, page, size):
    view, complaints = open_page(browser, page, size)
    assert view.evaluate(UNNAMED) == [] and view.evaluate(DEAD_LINKS) == [] and view.evaluate(REPEATED_IDS) == []
    assert view.locator("svg").count() > 10 and view.locator("img").count() == 4 and view.locator("table").count() > 10
    assert view.evaluate(OVERFLOW) == [0, []]
    for scheme in ("light", "dark"):
        view.emulate_media(color_scheme=scheme)
        assert view.evaluate(LOW_CONTRAST) == []
    # A wide table scrolls in its box, so that the page does not.
    view.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert view.evaluate(OVERFLOW) == [0, []]
    assert not complaints
    view.context.close()


@pytest.mark.slow
def test_table_3_fits_a_desktop_without_scrolling(browser, page):
    view, _ = open_page(browser, page)
    boxes = view.locator("#table3 .scroll")
    as_of_several_seeds = "cells => cells.forEach(a => a.textContent = '36.0 ± 22.0')"
    for number, columns in enumerate((11, 8, 8)):
        box = boxes.nth(number)
        box.locator("td.number:not(.paper) a").evaluate_all(as_of_several_seeds)
        assert box.locator("thead tr").last.locator("th").count() == columns
        assert box.evaluate("box => box.scrollWidth - box.clientWidth") == 0
    view.context.close()


@pytest.mark.slow
def test_without_javascript_the_page_is_the_same(browser, page):
    texts = []
    for enabled in (True, False):
        view, complaints = open_page(browser, page, java_script_enabled=enabled)
        assert not complaints
        texts.append(view.locator("main").inner_text())
        view.context.close()
    assert texts[0] == texts[1] and "supported" in texts[0] and "Missing" in texts[0]
    assert "<script" not in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_each_number_leads_to_its_runs(browser, page):
    view, _ = open_page(browser, page)
    view.locator("#table1 td.number:not(.paper) a").first.click()
    source = view.locator(f"[id='{view.url.split('#')[1]}']")
    assert source.is_visible()
    text = source.inner_text()
    assert "python -m src.run" in text and re.search(r"\b0{10}\b", text) and "seed" in text
    source.locator("a.run").first.click()
    row = view.locator(f"[id='{view.url.split('#')[1]}']")
    assert row.is_visible() and "finished" in row.inner_text()
    view.context.close()


@pytest.mark.slow
def test_a_link_to_a_claim_opens_it(browser, page):
    view, _ = open_page(browser, page, java_script_enabled=False)
    claim = view.locator("#claim-delta-1-is-best")
    assert not claim.is_visible()
    view.locator("#table1 a[href='#claim-delta-1-is-best']").click()
    assert claim.is_visible() and "Section 4.2.1" in claim.inner_text()
    view.context.close()


@pytest.mark.slow
def test_a_page_without_runs_shows_how_to_make_them(browser, tmp_path):
    write_report(contents_of(Runs([])), tmp_path)
    view, complaints = open_page(browser, tmp_path / "index.html", VIEWS["phone"])
    assert not complaints and view.evaluate(OVERFLOW) == [0, []] and view.evaluate(DEAD_LINKS) == []
    assert "python -m src.run -m sweeps=table1" in view.locator("#table1").inner_text()
    view.context.close()


def test_a_selected_command_is_copied_as_it_is(browser, tmp_path):
    contents = odd_contents()
    svgs = {name: "" for artefact in contents.artefacts for d in drawings_of(artefact) for name in d.svgs}
    (tmp_path / "index.html").write_text(to_html(contents, svgs, {}), encoding="utf-8")
    view, complaints = open_page(browser, tmp_path / "index.html", VIEWS["phone"])
    assert not complaints and view.evaluate(OVERFLOW) == [0, []] and view.evaluate(REPEATED_IDS) == []
    view.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert set(view.evaluate(SELECTED_COMMANDS)) == {ODD_COMMAND}
    view.context.close()


def test_these_tests_find_faults(browser, tmp_path):
    faulty = tmp_path / "faulty.html"
    faulty.write_text(
        '<!DOCTYPE html><meta name="viewport" content="width=device-width"><img src="gone.png">'
        '<div style="width: 900px" id="a">wide</div><p id="a" style="color: #999; background: #fff">pale</p>'
        '<a href="#nowhere">dead</a><table><tr><th>bare</th></tr></table><script>console.error("loud")</script>'
    )
    view, complaints = open_page(browser, faulty, VIEWS["phone"])
    assert "loud" in complaints and any("gone.png" in line for line in complaints)
    assert view.evaluate(OVERFLOW)[0] > 0 and len(view.evaluate(UNNAMED)) == 3 and view.evaluate(LOW_CONTRAST)
    assert view.evaluate(DEAD_LINKS) == ["#nowhere"] and view.evaluate(REPEATED_IDS) == ["a"]
    view.context.close()
