import subprocess
import sys

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from analysis import figure4, proposition1
from analysis.__main__ import main, save
from analysis.runs import Run, read_runs
from src.losses import step_function
from tests.conftest import ROOT

LINEAR = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/linear.yaml"))


def make_run(problem, method, losses, seed=0, finished=True, **changes):
    config = {"problem.name": problem, "method.name": method, "problem.seed": seed, "steps": 200}
    config |= {f"problem.{key}": value for key, value in proposition1.RANDOM.items()}
    config |= {"method.step": "heaviside", "method.delta": 1.0, "method.learning_rate": 1.0} | changes
    history = pd.DataFrame({"global_step": range(len(losses)), "ap_loss": losses, "loss": losses})
    return Run(f"{problem}{method}{seed}", config, history, finished)


@pytest.fixture
def runs():
    return [
        make_run("local_optimum", "error_driven", [0.1, 0.4, 0.0]),
        make_run("local_optimum", "approximate_gradient", [0.1] * 5),
        make_run("random", "error_driven", [0.5, 0.0]),
        make_run("random", "error_driven", [0.5, 0.25, 0.2, 0.0], seed=1),
        make_run("random", "approximate_gradient", [0.5, 0.0]),
        make_run("random", "approximate_gradient", [0.5, 0.1, 0.1], seed=1),
        make_run("random", "approximate_gradient", [0.5, 0.5], **{"method.delta": 4}),
        make_run("random", "structured_hinge", [0.5, 0.0], finished=False),
        make_run("random", "structured_hinge", [0.5, 0.0], **{"problem.dimensions": 3}),
        make_run("random", "structured_hinge", [0.5, 0.0], steps=9),
        Run("other", {"loss.name": "ap"}, pd.DataFrame({"global_step": [1], "loss": [1.0]}), True),
    ]


def assert_pictures(folder, name):
    picture = Image.open(folder / f"{name}.png").convert("L")
    assert picture.width > 900 and len(picture.getcolors()) > 10
    assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.pdf", f"{name}.png"]


def test_figure4_is_the_step_functions_of_the_losses():
    curves = figure4.build([])
    x = torch.tensor(curves.index.to_numpy())
    assert list(curves.columns.get_level_values("step")) == ["heaviside", *["piecewise"] * 5, "sigmoid"]
    for step, delta in curves:
        expected = step_function(x, step) if step == "heaviside" else step_function(x, step, delta)
        assert curves[step, delta].tolist() == expected.tolist()
    lines = figure4.draw(curves).axes[0].lines
    assert len(lines) == 8 and [line.get_linestyle() for line in lines].count("--") == 1


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["python -m analysis", *map(str, arguments)])
    main()


def test_figure4_needs_no_runs(tmp_path, monkeypatch, capsys):
    report = tmp_path / "some" / "report"
    call(monkeypatch, "figure4", "--outputs", "nowhere", "--report", report)
    assert f"{report}/figure4.png\n{report}/figure4.pdf\n" in capsys.readouterr().out
    assert_pictures(report, "figure4")


def test_without_outputs_the_command_is_told(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, "proposition1", "--outputs", "nowhere")
    assert "nowhere: no such folder; make runs with python -m src.linear -m sweeps" in capsys.readouterr().err


def test_shares_count_the_random_problems_of_each_setting(runs):
    table = proposition1.build(runs)
    assert len(table) == 7
    rows = proposition1.shares(table).values.tolist()
    assert rows[0] == ["approximate_gradient", "δ = 1, learning rate 1", 2, 1, 1.0]
    assert rows[1][:4] == ["approximate_gradient", "δ = 4, learning rate 1", 1, 0]
    assert rows[2] == ["error_driven", "learning rate 1", 2, 2, 2.0] and len(rows) == 3
    lines = proposition1.draw(table).axes[1].lines
    solved = {line.get_color(): line.get_ydata()[:5].tolist() for line in lines if line.get_linewidth() > 1}
    assert sorted(solved.values()) == [[0, 0.5, 0.5, 0.5, 0.5], [0, 0.5, 0.5, 1, 1]]


def test_text_and_picture_show_what_is_missing(runs, tmp_path, capsys):
    table = proposition1.build(runs)
    text = proposition1.to_text(table)
    assert "| local_optimum | error_driven | learning rate 1 | yes | 2 |" in text
    assert "| local_optimum | approximate_gradient | δ = 1, learning rate 1 | no, 0.1000 | – |" in text
    assert f"Missing: local_optimum structured_hinge, random structured_hinge: `{proposition1.COMMAND}`" in text
    for chosen in (table, proposition1.build([])):
        save(proposition1.draw(chosen), tmp_path, "proposition1")
        assert_pictures(tmp_path, "proposition1")
    assert "proposition1.pdf" in capsys.readouterr().out
    notes = [text.get_text() for ax in proposition1.draw(table).axes for text in ax.texts]
    assert notes == [f"missing: structured hinge\n{proposition1.COMMAND}"] * 2


def test_the_figure_is_about_the_problems_of_the_sweep():
    problem = LINEAR["problem"] | {"start_scale": 10}
    assert proposition1.RANDOM.items() <= problem.items() and LINEAR["steps"] == proposition1.STEPS
    assert "start_scale: 10}" in (ROOT / "sweeps/proposition1.yaml").read_text()


def test_a_real_run_is_read_and_drawn(tmp_path):
    overrides = ["problem.name=local_optimum", f"outputs={tmp_path}"]
    subprocess.run([sys.executable, "-m", "src.linear", *overrides], cwd=ROOT, check=True, capture_output=True)
    ((_, row),) = proposition1.build(read_runs(tmp_path)).iterrows()
    assert row["problem"] == "local_optimum" and row["steps_to_zero"] == 6 and row["tuning"] == "learning rate 1"
    assert row["history"].tolist()[0] == pytest.approx(2 / 15) and row["history"].index.tolist() == list(range(7))
