"""What a report writes, keeps and removes in its folder."""

import json
import pickle
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from analysis.artefacts.artefact import CONTRADICTED, SUPPORTED, UNDECIDED
from analysis.reading.runs import Runs
from analysis.report.provenance import run_anchor
from analysis.report.report import write_report
from src.utils import paths
from src.utils.errors import UserError
from tests.analysis.report.samples import odd_contents, sample_artefact, sample_contents, sample_panel
from tests.analysis.report.test_csv_files import read_rows


def modification_times(folder):
    return {file.name: file.stat().st_mtime_ns for file in folder.iterdir() if not file.name.startswith(".")}


def test_a_report_has_every_format(tmp_path):
    folder = tmp_path / "some" / "report"
    files = write_report(sample_contents(), folder)
    names = [file.name for file in files]
    assert names == sorted(
        [
            "claims.csv",
            "claims.md",
            "index.html",
            "runs.csv",
            "runs.md",
            "table1-curve.csv",
            "table1-curve.svg",
            "table1.csv",
            "table1.md",
            "table1.pdf",
            "table1.png",
            "table1.tex",
        ]
    )
    assert sorted(file.name for file in folder.iterdir()) == sorted([*names, ".manifest.json"])


def test_tables_of_claims_and_runs_are_complete(written):
    verdicts = read_rows((written / "claims.csv").read_text())
    assert [row["verdict"] for row in verdicts] == [SUPPORTED, CONTRADICTED, "", UNDECIDED]
    assert verdicts[0]["run_ids"] == "run-a run-c"
    runs = {row["run"]: row for row in read_rows((written / "runs.csv").read_text())}
    assert runs["run-c"]["options"] == "delta=4.0" and runs["run-b"]["seed"] == "1" and runs["run-a"]["options"] == ""
    assert runs["run-d"]["counts"] == "no" and runs["run-d"]["state"] == "failed" and runs["run-d"]["reason"]
    assert runs["run-a"]["commit"] == "0" * 10 and runs["run-a"]["host"] == "here"
    assert [runs["run-a"][key] for key in ("AP", "AP75", "schedule.epochs", "delta")] == ["30.0", "15.0", "27", "1.0"]


def test_links_between_files_have_targets(written):
    runs = (written / "runs.md").read_text()
    anchors = re.findall(r'<a id="([^"]+)">', runs)
    assert len(anchors) == len(set(anchors))
    for name in ("table1.md", "claims.md", "runs.md"):
        targets = re.findall(r"\]\((?:runs\.md)?#([^)]+)\)", (written / name).read_text())
        assert targets and set(targets) <= set(anchors)
    table = (written / "table1.md").read_text()
    assert re.search(r"\*\*\[29\.0 ± 0\.5\]\(runs\.md#from-\w+\)\*\*", table)
    assert "![(a) a curve: y \\<rises> to 3.0](table1.png)" in table
    assert run_anchor("a.b") != run_anchor("a-b") and re.fullmatch(r"[\w.-]+", run_anchor("a b/ü"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Glyph")
def test_odd_characters_break_no_format(tmp_path):
    folder = tmp_path / "report"
    files = write_report(odd_contents(), folder)
    assert len(files) == 12 and all(file.stat().st_size for file in files)
    first = modification_times(folder)
    write_report(odd_contents(), folder)
    assert modification_times(folder) == first


def test_a_file_name_that_is_no_utf8_is_written_as_its_code(report):
    contents = sample_contents()
    contents = replace(contents, runs=replace(contents.runs, unreadable=["\udcff.wandb holds no run"]))
    write_report(contents, report)
    for name in ("runs.md", "index.html"):
        assert r"\udcff.wandb holds no run" in (report / name).read_text().replace("\\\\", "\\")
    first = modification_times(report)
    write_report(contents, report)
    assert modification_times(report) == first


@pytest.mark.slow
def test_unchanged_files_are_not_written_again(report):
    first = modification_times(report)
    write_report(sample_contents(), report)
    assert modification_times(report) == first
    write_report(sample_contents([sample_artefact(panels=[sample_panel(ys=(1.0, 4.0))])]), report)
    changed = {name for name, time in modification_times(report).items() if time != first[name]}
    assert changed == {"table1.md", "table1-curve.csv", "table1-curve.svg", "table1.pdf", "table1.png", "index.html"}


@pytest.mark.slow
def test_an_unchanged_report_does_not_load_matplotlib(report):
    first = modification_times(report)
    code = (
        "import pickle, sys; from pathlib import Path; from analysis.report.report import write_report; "
        "write_report(pickle.load(sys.stdin.buffer), Path(sys.argv[1])); assert 'matplotlib' not in sys.modules"
    )
    contents = pickle.dumps(sample_contents())
    subprocess.run([sys.executable, "-c", code, report], cwd=paths.ROOT, input=contents, check=True)
    assert modification_times(report) == first


def test_a_lost_picture_is_drawn_again(report):
    svg = report / "table1-curve.svg"
    before = svg.read_text()
    svg.unlink()
    write_report(sample_contents(), report)
    assert svg.read_text() == before


@pytest.mark.slow
def test_only_files_of_the_report_are_removed(tmp_path):
    (tmp_path / "table2.md").write_text("the user's")
    artefact = sample_artefact()
    (section,) = artefact.sections
    sections = [section, replace(section, setting="recipe=voc")]
    write_report(sample_contents([replace(artefact, sections=sections)]), tmp_path)
    assert (tmp_path / "table1-2.png").exists() and (tmp_path / "table1-curve-2.svg").exists()
    write_report(sample_contents(), tmp_path)
    assert not (tmp_path / "table1-2.png").exists() and not (tmp_path / "table1-curve-2.svg").exists()
    assert (tmp_path / "table2.md").read_text() == "the user's"


def test_part_of_a_report_leaves_the_rest(report):
    other = replace(sample_artefact(), name="table2")
    write_report(sample_contents([sample_artefact(), other]), report)
    first = modification_times(report)
    files = write_report(sample_contents([sample_artefact(), other]), report, ["table1"])
    after = modification_times(report)
    assert after.keys() == first.keys() and after["index.html"] == first["index.html"]
    assert not [file for file in files if file.name.startswith(("table2", "index"))]
    assert after["runs.md"] == first["runs.md"] and after["runs.csv"] == first["runs.csv"]
    write_report(replace(sample_contents([]), runs=Runs([])), report, ["figure4"])  # for which no runs are read
    assert modification_times(report)["runs.md"] == first["runs.md"]
    write_report(sample_contents([other]), report)
    assert not (report / "table1.md").exists() and modification_times(report)["table2.png"] == first["table2.png"]


@pytest.fixture(scope="module")
def report_without_panels(tmp_path_factory):
    """A report that is written again in no time, as nothing is drawn."""
    folder = tmp_path_factory.mktemp("without_panels")
    write_report(sample_contents([sample_artefact(panels=[])]), folder)
    return folder


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"drawn": 3, "files": []}', b'{"drawn": {}, "files": [["a"]]}', b"\xff\xfe"]
)
def test_a_damaged_manifest_removes_nothing(report_without_panels, tmp_path, content):
    report = shutil.copytree(report_without_panels, tmp_path / "report")
    manifest = report / ".manifest.json"
    manifest.write_bytes(content)
    (report / "table9.md").write_text("left")
    write_report(sample_contents([sample_artefact(panels=[])]), report)
    assert (report / "table9.md").exists()
    assert "table1.tex" in json.loads(manifest.read_text())["files"]


def test_a_manifest_reaches_nothing_outside_the_folder(report, tmp_path):
    victim = tmp_path / "precious.md"
    victim.write_text("precious")
    manifest = report / ".manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"files": [*content["files"], "../precious.md", str(victim)]}))
    write_report(sample_contents(), report)
    assert victim.read_text() == "precious"


@pytest.mark.slow
def test_an_interrupted_drawing_is_drawn_again(report):
    before = (report / "table1.png").read_bytes()

    def interrupt(ax):
        raise KeyboardInterrupt

    def contents(interrupted):
        first = replace(sample_panel(ys=(1.0, 9.0)), name="first")
        second = replace(sample_panel(), draw=interrupt) if interrupted else sample_panel()
        return sample_contents([sample_artefact(panels=[first, second])])

    with pytest.raises(KeyboardInterrupt):
        write_report(contents(interrupted=True), report)
    assert (report / "table1.png").read_bytes() == before and not list(report.glob(".table1*"))
    write_report(contents(interrupted=False), report)
    assert (report / "table1.png").read_bytes() != before


def test_a_folder_that_cannot_be_created_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot create .*file/report"):
        write_report(sample_contents(), tmp_path / "file" / "report")
