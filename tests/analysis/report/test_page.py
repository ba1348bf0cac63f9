"""The report's page in a real browser: on a desk, on a phone, light and dark, without JavaScript."""

import os
import re
import shutil
from dataclasses import replace

import pytest

from analysis.__main__ import ARTEFACTS, build
from analysis.claims import judge_claims
from analysis.reading.local import read_local
from analysis.reading.runs import Runs
from analysis.reading.settings import command_of
from analysis.report.report import write_report
from tests.analysis.logged import every_kind_of_run, run_of
from tests.analysis.artefacts.test_golden import GOLDEN
from tests.conftest import ROOT

VIEWS = {"desk": (1280, 900), "phone": (390, 844)}
# What would reach the network, were there anything to reach it for.
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]
# Contrast of text with what is behind it, as WCAG 2 computes it; translucent backgrounds are none of ours.
CONTRAST = """() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const found = rgb(getComputedStyle(node).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    return matchMedia('(prefers-color-scheme: dark)').matches ? [0, 0, 0] : [255, 255, 255];
  };
  const poor = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim());
    if (!own || node.closest('svg') || node.matches('.skip')) continue;
    const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.push(`${node.className} ${node.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return poor.slice(0, 5);
}"""
DEAD_LINKS = """() => [...document.querySelectorAll('a[href]')].map(a => a.getAttribute('href'))
  .filter(href => href.startsWith('#') && !document.getElementById(href.slice(1)))"""
TWICE = """() => { const ids = [...document.querySelectorAll('[id]')].map(node => node.id);
  return ids.filter((id, place) => ids.indexOf(id) !== place); }"""
WIDER = """() => { const width = document.documentElement.clientWidth;
  return [document.documentElement.scrollWidth - width,
    [...document.querySelectorAll('body *')].filter(node => !node.closest('.scroll, svg, .unseen, .skip') &&
      node.getBoundingClientRect().right > width + 1).map(node => node.outerHTML.slice(0, 80)).slice(0, 5)]; }"""
BARE = """() => [
  ...[...document.querySelectorAll('img')].filter(image => !image.alt || !image.complete || !image.naturalWidth),
  ...[...document.querySelectorAll('svg')].filter(svg => !svg.getAttribute('aria-label')),
  ...[...document.querySelectorAll('table')].filter(table => !table.caption || !table.caption.textContent),
  ...[...document.querySelectorAll('th')].filter(head => !head.scope),
].map(node => node.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def browser():
    """Chromium; the tests are skipped where it is not installed, or fail if REQUIRE_CHROMIUM is set."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        message = "no Chromium is installed"
        pytest.fail(message) if os.environ.get("REQUIRE_CHROMIUM") else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield started
        started.close()


def write(runs, folder):
    artefacts = build(ARTEFACTS, runs)
    write_report(artefacts, judge_claims(runs), runs, folder, {run.run_id: command_of(run) for run in runs.all})
    return folder / "index.html"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """All artefacts, on logs and on runs of every kind, with a picture, and something left out."""
    golden = read_local(GOLDEN)
    picture = {"detections": {"_type": "image-file", "path": str(ROOT / "docs/detections.png")}}
    runs = [run_of(config, rows) for config, rows in every_kind_of_run()]
    known = {run.run_id for run in golden.all}
    runs = [replace(run, objects=run.objects | picture) for run in runs if run.run_id not in known]
    everything = Runs([*golden.all, *runs], ["outputs/x/run-x.wandb is not a log of W&B; left out"])
    return write(everything, tmp_path_factory.mktemp("report"))


def opened(browser, file, size=(1280, 900), **options):
    """The page as opened, and what the browser said or asked for meanwhile."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
    view, said = context.new_page(), []
    view.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    view.on("pageerror", lambda error: said.append(str(error)))
    view.on("request", lambda asked: said.append(asked.url) if not asked.url.startswith(("file:", "data:")) else None)
    view.on("requestfailed", lambda asked: said.append(asked.url))
    view.goto(file.as_uri())
    view.wait_for_load_state("load")
    return view, said


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", VIEWS.values(), ids=VIEWS)
def test_the_page_is_whole_and_fits(browser, page, size, scheme):
    view, said = opened(browser, page, size, color_scheme=scheme)
    assert not said
    assert view.evaluate(WIDER) == [0, []]
    assert view.evaluate(BARE) == [] and view.evaluate(DEAD_LINKS) == [] and view.evaluate(TWICE) == []
    assert view.evaluate(CONTRAST) == []
    assert view.locator("svg").count() > 10 and view.locator("img").count() == 4 and view.locator("table").count() > 10
    # A table's box may be wider than the phone, the page not: the box scrolls.
    view.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert view.evaluate(WIDER) == [0, []]
    view.context.close()


def test_without_javascript_the_page_is_the_same(browser, page):
    def words(enabled):
        view, said = opened(browser, page, java_script_enabled=enabled)
        assert not said
        text = view.locator("main").inner_text()
        view.context.close()
        return text

    assert "<script" not in page.read_text() and words(False) == words(True)
    assert "supported" in words(True) and "Missing" in words(True)


def test_each_number_leads_to_its_runs(browser, page):
    view, _ = opened(browser, page)
    view.locator("#table1 td.number:not(.paper) a").first.click()
    source = view.locator(f"[id='{view.url.split('#')[1]}']")
    assert source.is_visible()
    text = source.inner_text()
    assert "python -m src.run" in text and re.search(r"\b0{10}\b", text) and "seed" in text
    source.locator("a.run").first.click()
    row = view.locator(f"[id='{view.url.split('#')[1]}']")
    assert row.is_visible() and "finished" in row.inner_text()
    view.context.close()


def test_a_link_to_a_claim_opens_it(browser, page):
    view, _ = opened(browser, page, java_script_enabled=False)
    claim = view.locator("#claim-delta-1-is-best")
    assert not claim.is_visible()
    view.locator("#table1 a[href='#claim-delta-1-is-best']").click()
    assert claim.is_visible() and "Section 4.2.1" in claim.inner_text()
    view.context.close()


def test_a_page_without_any_run_says_how_to_make_them(browser, tmp_path):
    view, said = opened(browser, write(Runs([]), tmp_path), VIEWS["phone"])
    assert not said and view.evaluate(WIDER) == [0, []] and view.evaluate(DEAD_LINKS) == []
    assert "python -m src.run -m sweeps=table1" in view.locator("#table1").inner_text()
    view.context.close()


def test_the_tests_of_the_page_find_what_is_wrong(browser, tmp_path):
    wrong = tmp_path / "wrong.html"
    wrong.write_text(
        '<!DOCTYPE html><meta name="viewport" content="width=device-width"><img src="gone.png">'
        '<div style="width: 900px" id="a">wide</div><p id="a" style="color: #999; background: #fff">pale</p>'
        '<a href="#nowhere">dead</a><table><tr><th>bare</th></tr></table><script>console.error("loud")</script>'
    )
    view, said = opened(browser, wrong, VIEWS["phone"])
    assert "loud" in said and any("gone.png" in line for line in said)
    assert view.evaluate(WIDER)[0] > 0 and len(view.evaluate(BARE)) == 3 and view.evaluate(CONTRAST)
    assert view.evaluate(DEAD_LINKS) == ["#nowhere"] and view.evaluate(TWICE) == ["a"]
    view.context.close()
