import os
import shutil

import pytest

from analysis.report.report import write_report
from tests.analysis.report.samples import sample_contents

# What would reach the network, were there anything to reach it for.
NO_NETWORK = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """A report, which tests only read."""
    folder = tmp_path_factory.mktemp("written")
    write_report(sample_contents(), folder)
    return folder


@pytest.fixture
def report(written, tmp_path):
    """A report that was written before, which a test may change."""
    return shutil.copytree(written, tmp_path / "report")


@pytest.fixture(scope="session")
def browser():
    """Chromium; the tests are skipped where it is not installed, or fail if REQUIRE_CHROMIUM is set."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        message = "Chromium is not installed"
        pytest.fail(message) if os.environ.get("REQUIRE_CHROMIUM") else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=NO_NETWORK)
        yield running
        running.close()
