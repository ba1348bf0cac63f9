import json

import pytest
import torch
from hydra.errors import ConfigCompositionException

from src.config.linear import linear_run_id
from src.data.linear_problems import local_optimum, random_problem
from src.launch.cli import explain_configuration
from src.linear import run
from src.losses import ap_approximate_gradient_loss, ap_loss
from src.training.linear_model import build_loss, descend
from src.utils.errors import UserError
from tests.support.configurations import compose_sweep, make_linear_config, resolve_linear
from tests.support.programs import run_python


def steps_to_zero(problem, name, learning_rate, steps=200, step="heaviside", delta=1.0):
    losses = [values["ap_loss"] for values in descend(problem, build_loss(name, step, delta), learning_rate, steps)]
    return len(losses) - 1 if losses[-1] == 0 else None


def small(seed, start_scale=1.0):
    return random_problem(seed, dimensions=4, positives=3, negatives=20, margin=0.2, start_scale=start_scale)


def true_loss(problem, weights):
    return ap_loss(problem.points @ weights, problem.targets, interpolated=False, step="heaviside").item()


@pytest.mark.parametrize("learning_rate", [0.1, 1, 10])
def test_error_driven_update_solves_the_local_optimum(learning_rate):
    assert steps_to_zero(local_optimum(), "error_driven", learning_rate) is not None
    assert steps_to_zero(local_optimum(), "structured_hinge", learning_rate) is not None


@pytest.mark.parametrize("start_scale", [0, 1, 100])
def test_error_driven_update_solves_random_problems_from_any_start(start_scale):
    for seed in range(4):
        assert steps_to_zero(small(seed, start_scale), "error_driven", 1 + start_scale, steps=2000) is not None


@pytest.mark.parametrize(("delta", "learning_rate"), [(1e-12, 1), (1, 1e200)])
def test_scores_that_are_too_large_to_be_ranked_are_explained(delta, learning_rate):
    with pytest.raises(UserError, match=r"after step \d: .* too .*; or try a smaller method.learning_rate"):
        steps_to_zero(local_optimum(), "approximate_gradient", learning_rate, delta=delta)


@pytest.mark.parametrize(("delta", "learning_rate"), [(0.25, 100), (1, 0.1), (1, 1000), (16, 0.1), (16, 1000)])
def test_approximate_gradient_stays_in_the_local_optimum(delta, learning_rate):
    method = build_loss("approximate_gradient", "heaviside", delta)
    losses = [values["ap_loss"] for values in descend(local_optimum(), method, learning_rate, 30)]
    assert losses == pytest.approx([2 / 15] * 31, abs=1e-12)


def test_no_step_leads_out_of_the_cone_around_the_local_optimum():
    """For every w with |w₂| ≤ w₁ the negative gradient has |g₂| ≤ g₁, on a grid; δ = 1 stands for all."""
    problem = local_optimum()
    positive = problem.targets == 1
    slopes, lengths = torch.linspace(-1, 1, 101), torch.logspace(-4, 2.3, 127)
    weights = torch.stack([lengths[:, None].expand(-1, 101), lengths[:, None] * slopes], 2).reshape(-1, 2).double()
    weights.requires_grad_()
    scores = weights @ problem.points.T
    s, n = scores[:, positive], scores[:, ~positive]
    above = torch.sigmoid(2 * (s[:, None] - s[:, :, None])).sum(2) - 0.5
    negatives_above = torch.sigmoid(2 * (n[:, None] - s[:, :, None])).sum(2)
    smooth_ap = ((1 + above) / (1 + above + negatives_above)).mean(1)
    (ascent,) = torch.autograd.grad(smooth_ap.sum(), weights)
    # Far out all gradients underflow to exactly 0, which leaves w where it is.
    assert (ascent[:, 0] >= ascent[:, 1].abs()).all()
    assert all(true_loss(problem, w) == pytest.approx(2 / 15) for w in weights.detach()[::97])
    loss = ap_approximate_gradient_loss(scores[5000], problem.targets)
    assert loss.item() == pytest.approx(-(smooth_ap[5000] + 1e-6).log().item(), abs=1e-9)


def test_problems_are_separable_and_of_the_given_sizes():
    for problem in (local_optimum(), small(0)):
        assert true_loss(problem, problem.separator) == 0 and true_loss(problem, problem.start) > 0
    problem = small(1)
    scores = problem.points @ problem.separator
    assert problem.points.shape == (23, 4) and problem.targets.sum() == 3
    assert scores[problem.targets == 1].min() - scores[problem.targets == 0].max() >= 0.2 - 1e-12
    assert torch.equal(small(1).points, problem.points) and not torch.equal(small(2).points, problem.points)
    assert torch.allclose(small(1, start_scale=5).start, 5 * problem.start)


def test_the_loss_of_a_step_is_that_of_its_method():
    problem = small(0)
    scores = problem.points @ problem.start
    (first, *_) = descend(problem, build_loss("approximate_gradient", "heaviside", 2.0), 1.0, 1)
    assert first["loss"] == ap_approximate_gradient_loss(scores, problem.targets, delta=2.0).item()
    (first, *_) = descend(problem, build_loss("error_driven", "piecewise", 2.0), 1.0, 1)
    assert first["loss"] == ap_loss(scores, problem.targets, delta=2.0, interpolated=False).item()
    assert first["ap_loss"] == true_loss(problem, problem.start)


def test_a_run_is_logged_summarised_and_not_repeated(tmp_path, caplog):
    overrides = [f"outputs={tmp_path}", "problem.name=local_optimum", "wandb.mode=disabled", "steps=20"]
    config = make_linear_config(*overrides)
    directory = run(resolve_linear(config))
    summary = json.loads((directory / "summary.json").read_text())
    assert directory.name == linear_run_id(config) == summary["run_id"]
    assert summary["metrics"] == {"ap_loss": 0, "loss": 0, "steps_to_zero": 6}
    modified = (directory / "summary.json").stat().st_mtime_ns
    with caplog.at_level("INFO"):
        run(resolve_linear(config))
    assert "is finished" in caplog.text and (directory / "summary.json").stat().st_mtime_ns == modified
    stuck = run(resolve_linear(make_linear_config(*overrides, "method.name=approximate_gradient")))
    metrics = json.loads((stuck / "summary.json").read_text())["metrics"]
    assert metrics["steps_to_zero"] is None and metrics["ap_loss"] == pytest.approx(2 / 15)


def test_runs_repeat_to_the_bit():
    loss = build_loss("approximate_gradient", "heaviside", 1.0)
    assert list(descend(small(3), loss, 0.1, 10)) == list(descend(small(3), loss, 0.1, 10))


@pytest.mark.slow
def test_identity_is_that_of_the_science():
    def identities(*overrides):
        return {linear_run_id(make_linear_config(override)) for override in overrides}

    base = identities("steps=200")
    assert identities("outputs=elsewhere", "wandb.mode=disabled", "method.delta=3") == base
    other = ["problem.seed=1", "problem.margin=1", "method.learning_rate=2", "steps=9", "method.step=piecewise"]
    assert len(identities(*other) | base) == 6
    optimum = [make_linear_config("problem.name=local_optimum", f"problem.seed={seed}") for seed in (0, 1)]
    assert len({linear_run_id(config) for config in optimum}) == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.learning_rate=0", "method.learning_rate=0.0 must be greater than 0"),
        ("method.learning_rate=nan", "method.learning_rate"),
        ("method={name: approximate_gradient, delta: 1e-101}", "method.delta=1e-101 must be from 1e-100"),
        ("problem.positives=0", "problem.positives=0"),
        ("problem.margin=-1", "problem.margin=-1.0"),
        ("problem.start_scale=-1", "problem.start_scale=-1.0"),
        ("steps=-1", "steps=-1"),
    ],
)
def test_impossible_numbers_are_errors_that_name_the_key(override, message):
    with pytest.raises(UserError, match=message):
        resolve_linear(make_linear_config(override))


@pytest.mark.parametrize(
    "override", ["method.name=gradient", "method.step=steep", "problem.name=hard", "problem.sed=1"]
)
def test_an_unknown_key_or_choice_is_named(override):
    with pytest.raises(ConfigCompositionException, match=override):
        make_linear_config(override)


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("delta=0.5", "'delta'. Key 'delta' not in 'LinearConfig' full_key: delta; do you mean method.delta?"),
        ("loss=focal", "No match in the defaults list; --cfg job shows"),
    ],
)
def test_a_key_of_the_other_program_comes_with_no_advice_to_use_it(override, hint):
    with pytest.raises(ConfigCompositionException) as caught:
        make_linear_config(override)
    message = explain_configuration(caught.value)
    assert hint in message and "To append" not in message


def test_divergence_names_the_learning_rate():
    with pytest.raises(UserError, match="method.learning_rate"):
        list(descend(small(0), build_loss("structured_hinge", "heaviside", 1.0), 1e308, 20))


@pytest.mark.slow
def test_command_line(tmp_path):
    methods = "method={name: error_driven},{name: structured_hinge}"
    overrides = [f"outputs={tmp_path}", "problem.name=local_optimum", methods, "wandb.mode=disabled"]
    done = run_python(["-m", "src.linear", "-m", *overrides], fresh=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("AP-loss 0 after") == 2 and len(list(tmp_path.glob("*/summary.json"))) == 2
    done = run_python(["-m", "src.linear", f"outputs={tmp_path}", "method.delta=0", "method.name=approximate_gradient"])
    assert done.returncode == 1 and done.stderr == "error: method.delta=0.0 must be from 1e-100 to 1e+100\n"


@pytest.mark.slow
def test_the_sweep_is_of_sixty_different_runs():
    _, combinations, jobs = compose_sweep("sweeps=proposition1", module="src.linear")
    assert combinations == len(jobs) == 60
    assert len({linear_run_id(resolve_linear(job.config)) for job in jobs}) == 60
