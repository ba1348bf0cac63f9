"""A loss, a method, a detector and a perturbation of a user's own, registered as CONTRIBUTING.md says, are analysed."""

import json
import subprocess
import sys

import pytest

from src.utils import paths
from tests.support.programs import own_environment

pytestmark = pytest.mark.slow
# In a process of its own, as the analysis reads the registry when it is imported.
SCRIPT = """
import json
from src.config.registry import ATTACKS, DETECTORS, LOSSES, METHODS, AttackEntry, DetectorEntry, Loss, Method, Objective

LOSSES["mine"] = Loss("My loss", Objective("my_loss"), ranks=True)
METHODS["mine"] = Method("my method", Objective("my_method"))
DETECTORS["blobs"] = DetectorEntry("Blobs", "blobs.build_blobs")
ATTACKS["fog"] = AttackEntry("Fog", "fog.fog")

from analysis.__main__ import ARTEFACTS, build
from analysis.claims import judge_claims
from analysis.reading.runs import Runs
from analysis.report.markdown import claims_to_markdown, to_markdown
from tests.analysis.logged import named, rows_of, run_of

def run(name, ap, loss="ap", **changes):
    return run_of(named(name, f"loss={loss}", **changes), rows_of(ap))

def texts(runs):
    artefacts = {artefact.name: to_markdown(artefact) for artefact in build(ARTEFACTS, Runs(runs))}
    return artefacts | {"claims": claims_to_markdown(judge_claims(Runs(runs)))}

usual = [run("ap-0", 30.0), run("ap-1", 31.0, seed=1), run("focal", 29.0, "focal")]
usual += [run("boxes", 1.0, **{"schedule.box_loss_weight": 0})]
own = [run(f"mine-{seed}", 27.0, seed=seed, **{"loss.name": "mine"}) for seed in (0, 1)]
own += [run("method", 26.0, **{"method.name": "mine", "schedule.box_loss_weight": 0})]
own += [run("fog-ap", 22.0, **{"attack.name": "fog"})]
own += [run("fog-mine", 21.0, **{"attack.name": "fog", "loss.name": "mine"})]
own += [run("blobs-ap", 25.0, **{"model.name": "blobs"}), run("blobs-focal", 24.0, "focal", **{"model.name": "blobs"})]
print(json.dumps([texts(usual), texts([*usual, *own])]))
"""


@pytest.fixture(scope="module")
def reports():
    """The artefacts and claims by name, as Markdown: without runs of what is registered, and with them."""
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=paths.ROOT, env=own_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rows(text, name):
    """The rows of Markdown tables that begin with a name, as their cells."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [cells for cells in lines if cells[0] == name]


def missing(text):
    return [line for line in text.splitlines() if line.startswith("- ")]


def test_what_is_registered_without_any_run_is_not_shown(reports):
    without, _ = reports
    assert not any("My loss" in text or "my method" in text or "lobs" in text for text in without.values())
    assert rows(without["table3"], "Fog") and any("attack=fog" in line for line in missing(without["table3"]))
    assert "Fog" not in without["claims"]


def test_an_own_loss_stands_beside_the_papers_without_numbers_of_it(reports):
    _, texts = reports
    row = rows(texts["table2"], "My loss")[0]
    assert row[1:4] == ["27.0 ± 0.0", "54.0 ± 0.0", "13.5 ± 0.0"] and row[4:7] == ["–"] * 3
    assert row[7].startswith("+3.5") and row[8:] == ["–", "–"]
    assert "ours: My loss" in texts["table3"] and rows(texts["table4"], "ours, My loss")
    for name in ("table2", "table3", "figure6", "figure7", "figure9", "figure11"):
        assert "My loss" in texts[name] and not any("My loss" in line for line in missing(texts[name]))
    assert "My loss" not in texts["claims"]  # the paper claims nothing about it


def test_an_own_method_is_shown_and_no_sweep_is_said_to_make_it(reports):
    without, texts = reports
    assert "my method 0.5" in texts["figure8"] and missing(texts["figure8"]) == missing(without["figure8"])
    assert not any("my method" in line for line in missing(texts["proposition1"]))


def test_an_own_detector_is_compared_with_the_papers_retinanet(reports):
    _, texts = reports
    section = texts["table2"].split("### Blobs + shapes")[1].split("##")[0]
    assert rows(section, "AP-loss")[0][1] == "**25.0 †**" and "those of RetinaNet + PASCAL VOC" in section
    assert "Blobs, shapes" in texts["figure6"] and "(a) Blobs" not in texts["figure6"]
    for name in ("table1", "table4", "figure7", "figure9", "figure10", "figure11"):
        assert "model=blobs" in texts[name]


def test_an_own_perturbation_has_rows_without_numbers_of_the_paper(reports):
    _, texts = reports
    first, points = rows(texts["table3"], "Fog")[:2]
    assert first[4:6] == ["**44.0 †**", "42.0 †"] and first[6:] == ["–"] * 5 + ["missing", "–", "missing"]
    assert points[5:7] == ["16.0 †", "12.0 †"] and points[7:] == ["–"] * 5
    assert "Fog" not in texts["claims"]
