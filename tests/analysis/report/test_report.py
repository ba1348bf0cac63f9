"""Every format from artefacts made by hand."""

import csv
import io
import json
import math
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pandas as pd
import pytest
from PIL import Image

from analysis.artefacts.artefact import (
    CONTRADICTED,
    SUPPORTED,
    UNDECIDED,
    Absent,
    Artefact,
    Claim,
    Measured,
    Missing,
    Panel,
    Published,
    Section,
    Table,
    Verdict,
)
from analysis.reading.runs import Runs
from analysis.artefacts.statistics import Estimate
from analysis.report.latex import escape, to_latex
from analysis.report.markdown import claims_to_markdown, to_markdown
from analysis.artefacts.number_format import to_text
from analysis.report.provenance import run_anchor
from analysis.report.report import write_report
from analysis.artefacts.style import BLUE, COLOURS, GRID, INK, label
from analysis.report.csv_files import csv_files
from src.utils.errors import UserError
from tests.analysis.logged import config_of, rows_of, run_of
from tests.conftest import ROOT

TWO = Measured(Estimate(29.04, 0.46, 2), ("run-a", "run-b"), best=True)
ONE = Measured(Estimate(26.0, math.nan, 1), ("run-c",))
LEAD = Measured(Estimate(-3.04, 0.9, 2), ("run-a", "run-b", "run-c"), signed=True)
COUNT = Measured(Estimate(7.0, math.nan, 1), ("run-a",), digits=0, plain=True)


def table(name="ablation", title="δ & 100% of_it"):
    columns = [("", "δ"), ("ours", "AP"), ("ours", "AP75"), ("paper", "AP"), ("AP from 1", "ours"), ("AP from 1", "n")]
    rows = [
        ["1 <b>", TWO, Absent(), Published(53.1, "Table 1", best=True), "–", COUNT],
        ["a|b_c", ONE, ONE, Published(50.25, "Table 1"), LEAD, COUNT],
    ]
    return Table(name, title, columns, rows, ["A note of $5."])


def draw(data, ax):
    ax.plot(data.x, data.y, color=COLOURS["ap"], label="y")
    label(ax, "x", "y")
    ax.legend()


def panel(name="curve", ys=(1.0, 3.0)):
    data = pd.DataFrame({"x": range(len(ys)), "y": ys})
    return Panel(name, "(a) a curve", partial(draw, data), data, f"y <rises> to {ys[-1]}")


def example(**changes):
    section = Section(
        "recipe=mini", [table()], [panel()], [Missing("δ = 2", "python -m src.run delta=2"), Missing("SSD", None)],
        ["run-a", "run-b", "run-c"], ["Measured here."],
    )
    return Artefact("table1", "Table 1: <ablation>", "What is *shown*.", [replace(section, **changes)])


def claims():
    verdicts = [
        Verdict("recipe=mini", SUPPORTED, "AP 29.1 ± 0.4 > 26.0", "Welch's t-test, p = 0.03", ["run-a", "run-c"]),
        Verdict("recipe=voc", CONTRADICTED, "AP 1.0", "", []),
    ]
    return [
        Claim("delta", "δ = 1 is <best>", "Table 1", "table1", verdicts, []),
        Claim("other", "Nothing tests this", "Table 2", "table2", [], [Missing("all", "python -m src.run")]),
        Claim("third", "One seed", "Table 1", "table1", [Verdict("recipe=mini", UNDECIDED, "", "", ["run-a"])], []),
    ]


def runs_by_hand():
    names = {"run-a": ("seed=0", "finished"), "run-b": ("seed=1", "finished"), "run-c": ("delta=4", "finished"),
             "run-d": ("seed=3", "failed")}
    return Runs(
        [run_of(config_of(word) | {"run_id": name}, rows_of(30.0), state) for name, (word, state) in names.items()],
        ["outputs/<x>.wandb holds no run; left out"],
    )


def write(folder, artefacts=None, **changes):
    commands = {name: f"python -m src.run name={name} x='a|b'" for name in ("run-a", "run-b", "run-c", "run-d")}
    return write_report(artefacts or [example()], claims(), runs_by_hand(), folder, commands, **changes)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    write(folder)
    return folder


@pytest.fixture
def report(written, tmp_path):
    """A report that was written before, of which a test may change what it likes."""
    return shutil.copytree(written, tmp_path / "report")


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (TWO, "29.0 ± 0.5"), (ONE, "26.0 †"), (LEAD, "−3.0 ± 0.9"), (COUNT, "7"), (Absent(), "missing"),
        (replace(LEAD, estimate=Estimate(1.26, 0.04, 3)), "+1.3 ± 0.0"),
        (replace(LEAD, estimate=Estimate(-0.04, math.nan, 1)), "0.0 †"),
        (Published(-1.25, "Table 1", digits=2, signed=True), "−1.25"), ("–", "–"),
    ],
)
def test_numbers_as_text(cell, text):
    assert to_text(cell) == text


def test_markdown_for_the_terminal():
    expected = r"""# Table 1: \<ablation>

What is \*shown\*.

## `recipe=mini`

### δ & 100% of_it

| δ      |       ours: AP | ours: AP75 |  paper: AP | AP from 1: ours | AP from 1: n |
| ------ | -------------: | ---------: | ---------: | --------------: | -----------: |
| 1 \<b> | **29.0 ± 0.5** |    missing | ***53.1*** |               – |            7 |
| a\|b_c |         26.0 † |     26.0 † |     *50.2* |      −3.0 ± 0.9 |            7 |

A note of $5.

† one seed, no interval

(a) a curve: y \<rises> to 3.0

Measured here.

Missing:

- δ = 2: `python -m src.run delta=2`
- SSD: the code for it is not here yet
"""
    assert to_markdown(example()) == expected


def test_latex():
    expected = r"""% needs \usepackage{booktabs,graphicx}
\begin{table}
\centering
\caption{$<$ablation$>$. $\delta$ \& 100\% of\_it (recipe=mini). Table 1 of the paper.}
\label{tab:table1-ablation}
\small
\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{% as wide as the text at most
\begin{tabular}{lrrrrr}
\toprule
\multicolumn{1}{c}{} & \multicolumn{2}{c}{ours} & \multicolumn{1}{c}{paper} & \multicolumn{2}{c}{AP from 1} \\
\cmidrule(lr){2-3} \cmidrule(lr){4-4} \cmidrule(lr){5-6}
$\delta$ & AP & AP75 & AP & ours & n \\
\midrule
1 $<$b$>$ & \textbf{29.0 $\pm$ 0.5} & missing & \textit{\textbf{53.1}} & -- & 7 \\
a$|$b\_c & 26.0 \textsuperscript{$\dagger$} & 26.0 \textsuperscript{$\dagger$} & \textit{50.2} & $-$3.0 $\pm$ 0.9 & 7 \\
\bottomrule
\end{tabular}}
\par\smallskip{\footnotesize A note of \$5.}
\par\smallskip{\footnotesize $\dagger$ one seed, no interval}
\end{table}
"""
    assert to_latex(example()) == expected.replace(
        r"{\footnotesize $\dagger$", r"{\footnotesize \textsuperscript{$\dagger$}"
    )


ODD = "\\ { } # $ % & _ ~ ^ < > | \" ' ` [x] ± − × ≤ † – … é ß Ð α Δ Α ο λ Λ ϑ 数 \t 😀 Lagrange’s"


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_latex_compiles(tmp_path):
    other = replace(table("other", ODD), columns=[("", "δ"), *[("", 3 * ODD[:20])] * 5])
    body = to_latex(example(tables=[table(), other]))
    packages = r"\usepackage{booktabs,graphicx}"
    document = rf"\documentclass{{article}}{packages}\begin{{document}}{body}{escape(ODD)}\end{{document}}"
    (tmp_path / "paper.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert "Missing character" not in log and "Overfull" not in log


def rows_in(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_is_tidy():
    second = replace(example().sections[0], setting="recipe=voc", missing=[])
    both = replace(example(), sections=[*example().sections, second])
    files = csv_files(both)
    assert sorted(files) == ["table1-curve.csv", "table1.csv"]
    rows = rows_in(files["table1.csv"])
    assert len(rows) == 2 * (4 + 5)
    two, absent, published = rows[:3]
    assert two["setting"] == "recipe=mini" and two["row"] == "1 <b>" and (two["group"], two["column"]) == ("ours", "AP")
    assert (float(two["mean"]), float(two["half_width"])) == (29.04, 0.46)
    assert (two["seeds"], two["run_ids"], two["published"], two["missing"]) == ("2", "run-a run-b", "", "")
    assert absent["missing"] == "missing" and absent["mean"] == "" and absent["column"] == "AP75"
    assert (published["published"], published["where"], published["mean"]) == ("53.1", "Table 1", "")
    one = rows[4]
    assert (one["mean"], one["half_width"], one["seeds"], one["row"]) == ("26.0", "", "1", "a|b_c")
    assert files["table1-curve.csv"].splitlines() == [
        "setting,x,y", "recipe=mini,0,1.0", "recipe=mini,1,3.0", "recipe=voc,0,1.0", "recipe=voc,1,3.0",
    ]


def test_several_tables_have_files_of_their_own():
    files = csv_files(example(tables=[table("a"), table("b")], panels=[]))
    assert sorted(files) == ["table1-a.csv", "table1-b.csv"]
    with pytest.raises(ValueError, match="both named a"):
        csv_files(example(tables=[table("a"), table("b")], panels=[panel("a")]))


def test_claims_in_markdown():
    text = claims_to_markdown(claims())
    assert r"## δ = 1 is \<best>" in text and "- **supported** in `recipe=mini`\n- AP 29.1 ± 0.4 > 26.0\n" in text
    assert "- **contradicted** in `recipe=voc`\n- AP 1.0\n- runs: none\n" in text
    assert "No run of it yet.\n\nMissing:\n\n- all: `python -m src.run`" in text
    assert "[run-a](runs.md#run-run-a)" in claims_to_markdown(claims(), links=True)


def test_a_report_has_every_format(tmp_path):
    files = write(tmp_path / "some" / "report")
    names = [file.name for file in files]
    assert names == sorted([
        "claims.csv", "claims.md", "index.html", "runs.csv", "runs.md", "table1-curve.csv", "table1-curve.svg",
        "table1.csv", "table1.md", "table1.pdf", "table1.png", "table1.tex",
    ])
    assert sorted(file.name for file in files[0].parent.iterdir()) == sorted([*names, ".manifest.json"])
    of = dict(zip(names, files, strict=True))
    picture = Image.open(of["table1.png"])
    assert round(picture.info["dpi"][0]) == 300 and picture.width == 1050
    assert len(picture.convert("L").getcolors()) > 10
    assert of["table1.pdf"].read_bytes().startswith(b"%PDF")
    verdicts = rows_in(of["claims.csv"].read_text())
    assert [row["verdict"] for row in verdicts] == [SUPPORTED, CONTRADICTED, "", UNDECIDED]
    assert verdicts[0]["run_ids"] == "run-a run-c"
    runs = {row["run"]: row for row in rows_in(of["runs.csv"].read_text())}
    assert runs["run-c"]["knobs"] == "delta=4.0" and runs["run-b"]["seed"] == "1" and runs["run-a"]["knobs"] == ""
    assert runs["run-d"]["counts"] == "no" and runs["run-d"]["state"] == "failed" and runs["run-d"]["reason"]
    assert runs["run-a"]["commit"] == "0" * 10 and runs["run-a"]["host"] == "here"
    assert [runs["run-a"][key] for key in ("AP", "AP75", "schedule.epochs", "delta")] == ["30.0", "15.0", "9", "1.0"]


def test_links_of_the_files_lead_somewhere(report):
    runs = (report / "runs.md").read_text()
    anchors = re.findall(r'<a id="([^"]+)">', runs)
    assert len(anchors) == len(set(anchors))
    for name in ("table1.md", "claims.md", "runs.md"):
        targets = re.findall(r"\]\((?:runs\.md)?#([^)]+)\)", (report / name).read_text())
        assert targets and set(targets) <= set(anchors)
    assert re.search(r"\*\*\[29\.0 ± 0\.5\]\(runs\.md#from-\w+\)\*\*", (report / "table1.md").read_text())
    assert "![(a) a curve: y \\<rises> to 3.0](table1.png)" in (report / "table1.md").read_text()
    assert r"`python -m src.run name=run-a x='a\|b'`" in runs and "run-d: its log has no end" in runs
    assert run_anchor("a.b") != run_anchor("a-b") and re.fullmatch(r"[\w.-]+", run_anchor("a b/ü"))


def times(folder):
    return {file.name: file.stat().st_mtime_ns for file in folder.iterdir() if not file.name.startswith(".")}


def test_a_second_report_leaves_what_is_the_same(report):
    first = times(report)
    write(report)
    assert times(report) == first
    write(report, [example(panels=[panel(ys=(1.0, 4.0))])])
    changed = {name for name, time in times(report).items() if time != first[name]}
    assert changed == {"table1.md", "table1-curve.csv", "table1-curve.svg", "table1.pdf", "table1.png", "index.html"}


def test_an_unchanged_report_does_not_load_matplotlib(report):
    first = times(report)
    code = (
        "import sys; from pathlib import Path; from tests.analysis.report.test_report import write; "
        "write(Path(sys.argv[1])); assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, report], cwd=ROOT, check=True)
    assert times(report) == first


def test_a_lost_file_is_drawn_again(report):
    lost = report / "table1-curve.svg"
    before = lost.read_text()
    lost.unlink()
    write(report)
    assert lost.read_text() == before


def test_only_own_files_are_removed(tmp_path):
    (tmp_path / "table2.md").write_text("the user's")
    section = example().sections[0]
    write(tmp_path, [replace(example(), sections=[section, replace(section, setting="recipe=voc")])])
    assert (tmp_path / "table1-2.png").exists() and (tmp_path / "table1-curve-2.svg").exists()
    write(tmp_path)
    assert not (tmp_path / "table1-2.png").exists() and not (tmp_path / "table1-curve-2.svg").exists()
    assert (tmp_path / "table2.md").read_text() == "the user's"


def test_a_part_of_the_report_leaves_the_rest(tmp_path):
    other = replace(example(), name="table2")
    write(tmp_path, [example(), other])
    first = times(tmp_path)
    files = write(tmp_path, [example()], whole=False)
    after = times(tmp_path)
    assert after.keys() == first.keys() and after["index.html"] == first["index.html"]
    assert not [file for file in files if file.name.startswith(("table2", "index"))]
    write(tmp_path, [other])
    assert not (tmp_path / "table1.md").exists() and times(tmp_path)["table2.png"] == first["table2.png"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"drawn": 3, "files": []}', '{"drawn": {}, "files": [["a"]]}', b"\xff\xfe"]
)
def test_a_damaged_manifest_removes_nothing(report, content):
    manifest = report / ".manifest.json"
    manifest.write_bytes(content if isinstance(content, bytes) else content.encode())
    (report / "table9.md").write_text("left")
    write(report)
    assert (report / "table9.md").exists()
    assert "table1.png" in json.loads(manifest.read_text())["files"]


def test_a_manifest_reaches_nothing_outside_the_folder(report, tmp_path):
    victim = tmp_path / "precious.md"
    victim.write_text("precious")
    manifest = report / ".manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"files": [*content["files"], "../precious.md", str(victim)]}))
    write(report)
    assert victim.read_text() == "precious"


def test_a_drawing_that_was_stopped_is_not_taken_for_a_whole_one(report):
    before = (report / "table1.png").read_bytes()

    def stop(ax):
        raise KeyboardInterrupt

    def changed(stopped):
        curve = replace(panel(ys=(1.0, 9.0)), name="first")
        return [example(panels=[curve, replace(panel(), draw=stop) if stopped else panel()])]

    with pytest.raises(KeyboardInterrupt):
        write(report, changed(True))
    assert (report / "table1.png").read_bytes() == before and not list(report.glob(".table1*"))
    write(report, changed(False))
    assert (report / "table1.png").read_bytes() != before


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/report cannot be made"):
        write(tmp_path / "file" / "report")


def test_panels_for_the_page_take_its_ink(tmp_path):
    write(tmp_path, [example(panels=[panel(), panel("other")])])
    svgs = [(tmp_path / f"table1-{name}.svg").read_text() for name in ("curve", "other")]
    ids = [re.findall(r'\bid="([^"]+)"', svg) for svg in svgs]
    assert ids[0] and not set(ids[0]) & set(ids[1]) and all(len(x) == len(set(x)) for x in ids)
    for svg, own in zip(svgs, ids, strict=True):
        assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)[0]) - {""} <= set(own)
        assert "currentColor" in svg and "var(--grid" in svg and BLUE.lower() in svg
        assert INK not in svg and GRID not in svg.replace(f"var(--grid, {GRID})", "")
        assert 'role="img" aria-label="y &lt;rises&gt; to 3.0"><title>y &lt;rises&gt; to 3.0</title>' in svg
    assert Image.open(tmp_path / "table1.png").width == 2100
