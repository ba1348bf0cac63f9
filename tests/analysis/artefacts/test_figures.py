"""The figures that need no detector: the step functions, and Proposition 1."""

import subprocess
import sys

import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from PIL import Image

from analysis.__main__ import main
from analysis.artefacts import figure4, proposition1
from analysis.artefacts.artefact import Absent
from analysis.artefacts.curves import line_of
from analysis.reading.local import read_local
from analysis.reading.runs import Runs, make_run
from analysis.reading.settings import LOSS_TITLES, METHOD_TITLES
from src.losses import step_function
from src.utils import paths
from tests.support.programs import run_python

LINEAR = OmegaConf.to_container(OmegaConf.load(paths.ROOT / "conf/linear.yaml"))


def descent(problem, method, losses, seed=0, state="finished", steps=200, delta=1.0, dimensions=10):
    config = {
        "problem": {"name": problem, "seed": seed, **proposition1.RANDOM, "dimensions": dimensions},
        "method": {"name": method, "step": "heaviside", "delta": delta, "learning_rate": 1.0},
        "steps": steps,
    }
    config |= {"identity": {**config}, "command": {"canonical": "python -m src.linear"}}
    rows = [{"global_step": step, "ap_loss": loss, "loss": loss} for step, loss in enumerate(losses)]
    return make_run(f"{problem}-{method}-{seed}-{delta}-{steps}-{state}-{dimensions}", config, rows, state)


@pytest.fixture
def runs():
    other = make_run("other", {"loss": {"name": "ap"}}, [{"global_step": 1, "loss": 1.0}], "finished")
    old = make_run("old", {"problem": {"name": "local_optimum"}, "method": {"name": "error_driven"}}, [], "finished")
    assert "give the run's command again" in old.reason
    foreign = make_run("foreign", {"problem": {"name": "local_optimum"}}, [{"global_step": 1, "loss": 1.0}], "finished")
    return Runs(
        [
            descent("local_optimum", "error_driven", [0.1, 0.4, 0.0]),
            descent("local_optimum", "approximate_gradient", [0.1] * 5),
            descent("random", "error_driven", [0.5, 0.0]),
            descent("random", "error_driven", [0.5, 0.25, 0.2, 0.0], seed=1),
            descent("random", "approximate_gradient", [0.5, 0.0]),
            descent("random", "approximate_gradient", [0.5, 0.1, 0.1], seed=1),
            descent("random", "approximate_gradient", [0.5, 0.5], delta=4),
            descent("random", "structured_hinge", [0.5, 0.0], state="failed"),
            descent("random", "structured_hinge", [0.5, 0.0], dimensions=3),
            descent("random", "structured_hinge", [0.5, 0.0], steps=9),
            other,
            old,
            foreign,
        ]
    )


def axes_of(panel):
    ax = Figure().add_subplot()
    panel.draw(ax)
    return ax


def assert_pictures(folder, name):
    picture = Image.open(folder / f"{name}.png").convert("L")
    assert picture.width > 900 and len(picture.getcolors()) > 10
    assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_figure4_shows_the_step_functions_of_the_losses():
    ((panel,),) = [section.panels for section in figure4.build(Runs([])).sections]
    assert list(panel.data.step.unique()) == ["heaviside", "piecewise", "sigmoid"]
    for (step, delta), curve in panel.data.groupby(["step", "delta"], dropna=False):
        x = torch.tensor(curve.x.to_numpy())
        expected = step_function(x, step) if step == "heaviside" else step_function(x, step, delta)
        assert curve.f.tolist() == expected.tolist()
    lines = axes_of(panel).lines
    assert len(lines) == 8 and [line.get_linestyle() for line in lines].count("--") == 1


def test_an_own_loss_or_method_has_a_line_of_its_own():
    for titles in (LOSS_TITLES, METHOD_TITLES):
        looks = [(look["color"], look["linestyle"], look["marker"]) for look in map(line_of, [*titles, "mine"])]
        assert len({color for color, _, _ in looks[:-1]}) == len(titles) and looks[-1] not in looks[:-1]
        assert len({(dash, marker) for _, dash, marker in looks}) == len(looks)  # without colours too


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["python -m analysis", *map(str, arguments)])
    main()


@pytest.mark.slow
def test_figure4_needs_no_runs(tmp_path, monkeypatch, capsys):
    report = tmp_path / "some" / "report"
    call(monkeypatch, "figure4", "--outputs", "nowhere", "--report", report)
    assert "# Fig. 4: step functions" in capsys.readouterr().out
    assert_pictures(report, "figure4")
    assert {"figure4.md", "figure4-functions.csv", "figure4-functions.svg"} <= {path.name for path in report.iterdir()}
    assert not (report / "index.html").exists()


@pytest.mark.slow
def test_who_reads_no_more_of_the_text_gets_all_files(tmp_path):
    command = f"{sys.executable} -m analysis figure4 --report '{tmp_path}' | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=paths.ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.startswith("0 runs count; 5 files in ")
    assert_pictures(tmp_path, "figure4")


def test_without_outputs_the_command_that_makes_them_is_named(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, "proposition1", "--outputs", "nowhere")
    assert "nowhere: no such folder; make runs with python -m src.run" in capsys.readouterr().err


def test_shares_count_the_random_problems_of_each_setting(runs):
    frame = proposition1.descents(runs)
    assert len(frame) == 7
    rows = proposition1.shares(frame).values.tolist()
    assert rows[0] == ["approximate_gradient", "δ = 1, learning rate 1", 2, 1, 1.0]
    assert rows[1][:4] == ["approximate_gradient", "δ = 4, learning rate 1", 1, 0]
    assert rows[2] == ["error_driven", "learning rate 1", 2, 2, 2.0] and len(rows) == 3
    (section,) = proposition1.build(runs).sections
    solved = {
        line.get_color(): line.get_ydata()[:5].tolist()
        for line in axes_of(section.panels[1]).lines
        if line.get_linewidth() > 1
    }
    assert sorted(solved.values()) == [[0, 0.5, 0.5, 0.5, 0.5], [0, 0.5, 0.5, 1, 1]]


def test_the_table_counts_and_what_is_missing_is_named(runs):
    (section,) = proposition1.build(runs).sections
    (table,) = section.tables
    rows = {tuple(row[:3]): row[3:] for row in table.rows}
    problems, solved, median = rows["local optimum", "error-driven update", "learning rate 1"]
    assert [cell.estimate.mean for cell in (problems, solved, median)] == [1, 1, 2]
    problems, solved, median = rows["local optimum", "approximate gradient", "δ = 1, learning rate 1"]
    assert [problems.estimate.mean, solved.estimate.mean, median] == [1, 0, Absent("–")]
    several = Runs([*runs.all, descent("local_optimum", "approximate_gradient", [0.1, 0.05], delta=4)])
    alt = proposition1.build(several).sections[0].panels[0].alt
    assert alt.endswith("At the end: error-driven update 0.000, approximate gradient 0.100 or 0.050.")
    (missing,) = section.missing
    assert missing.what == "local optimum, structured hinge; random, structured hinge"
    assert missing.command == proposition1.COMMAND and len(section.run_ids) == 7
    (section,) = proposition1.build(Runs([])).sections
    assert not section.tables and not section.panels and "error-driven" in section.missing[0].what


def test_the_figure_shows_the_problems_of_the_sweep():
    problem = LINEAR["problem"] | {"start_scale": 10}
    assert proposition1.RANDOM.items() <= problem.items() and LINEAR["steps"] == proposition1.STEPS
    assert "start_scale: 10}" in (paths.ROOT / "sweeps/proposition1.yaml").read_text()


@pytest.mark.slow
def test_a_real_run_is_read_and_drawn(tmp_path):
    overrides = ["problem.name=local_optimum", f"outputs={tmp_path}"]
    run_python(["-m", "src.linear", *overrides], check=True)
    runs = read_local(tmp_path)
    ((_, row),) = proposition1.descents(runs).iterrows()
    assert row["problem"] == "local_optimum" and row["steps_to_zero"] == 6 and row["tuning"] == "learning rate 1"
    assert row["history"].tolist()[0] == pytest.approx(2 / 15) and row["history"].index.tolist() == list(range(7))
    ends = proposition1.build(runs).sections[0].panels[0].data
    assert isinstance(ends, pd.DataFrame) and ends.ap_loss.iloc[-1] == 0
