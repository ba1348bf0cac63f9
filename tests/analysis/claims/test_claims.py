"""Claims judged in two made-up worlds: one in which all is as the paper says, and one in which nothing is."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from analysis.artefacts.artefact import CONTRADICTED, SUPPORTED, UNDECIDED
from analysis.artefacts.statistics import PAIRED, WELCH, above, difference
from analysis.artefacts.table3 import PERTURBATIONS
from analysis.claims import STATEMENTS, judge
from analysis.claims.rules import exponent, residual
from analysis.reading.runs import Runs
from analysis.reading.settings import LOSS_TITLES
from tests.analysis.logged import config_of, run_of

STEPS = 100
PAPER = {
    "batch": {1: 29.0, 2: 29.2, 4: 29.5, 8: 30.0},
    "plain": 29.5,
    "delta": {0.25: 25.0, 0.5: 27.0, 2.0: 29.0, 4.0: 26.0},
    "losses": {"ap": 30.0, "focal": 27.0, "ohem": 25.0, "auc": 20.0},
    "ssd": {"ap": 30.0, "focal": 25.0, "ohem": 27.0, "auc": 20.0},
    "AP50": {"ap": 60.0, "focal": 50.0, "ohem": 51.0, "auc": 40.0},
    "high": {"ap": 1, "focal": 50, "ohem": 90, "auc": 70},
    "sure": {"ap": 30, "focal": 20, "ohem": 45, "auc": 25},
    "ends": {"error_driven": 0.3, "structured_hinge": 0.8, "approximate_gradient": 0.99},
    "proposals": {
        "error_driven": (0.3, 0.3),
        "structured_hinge": (0.4, 0.7),
        "approximate_gradient": (0.3, 0.99),
        "snapshot": 0.35,
    },
    "memory": {"ap": lambda size: 1000 + 500 * size, "focal": lambda size: 990 + 490 * size},
    "time": {"ap": lambda size: 0.04 * size, "focal": lambda size: 0.02, "ohem": lambda size: 0.03 * size},
    "early": 3.0,
    "late": 1.0,
    "iteration": 1.0,
}
OPPOSITE = {
    "batch": {1: 20.0, 2: 29.2, 4: 33.0, 8: 30.0},
    "plain": 33.0,
    "delta": {0.25: 33.0, 0.5: 34.0, 2.0: 35.0, 4.0: 36.0},
    "losses": {"ap": 20.0, "focal": 25.0, "ohem": 27.0, "auc": 30.0},
    "ssd": {"ap": 20.0, "focal": 27.0, "ohem": 25.0, "auc": 30.0},
    "AP50": {"ap": 40.0, "focal": 60.0, "ohem": 51.0, "auc": 50.0},
    "high": {"ap": 90, "focal": 50, "ohem": 20, "auc": 70},
    "sure": {"ap": 45, "focal": 40, "ohem": 20, "auc": 35},
    "ends": {"error_driven": 0.8, "structured_hinge": 0.3, "approximate_gradient": 0.3},
    "proposals": {
        "error_driven": (0.3, 0.7),
        "structured_hinge": (0.7, 0.4),
        "approximate_gradient": (0.99, 0.3),
        "snapshot": 0.99,
    },
    "memory": {"ap": lambda size: {1: 9000, 2: 1000, 4: 9500, 8: 5000}[size], "focal": lambda size: 1000},
    "time": {"ap": lambda size: 0.01 * size**2, "focal": lambda size: 0.1 * size, "ohem": lambda size: 0.01 * size},
    "early": 0.1,
    "late": 0.4,
    "iteration": 1.0,
}
SETTINGS = {
    "mini": {},
    "voc": {"recipe": "voc", "dataset.name": "voc"},
    "coco": {"recipe": "coco", "dataset.name": "coco"},
    "ssd": {"recipe": "voc", "dataset.name": "voc", "model.name": "ssd"},
}


@pytest.fixture(scope="module")
def base():
    """By loss what the built-in recipe has."""
    return {loss: config_of(f"loss={loss}") for loss in LOSS_TITLES}


def make(base, values, seed, **changes):
    config = copy.deepcopy(base["ap" if "recipe" in changes else changes.get("loss.name", "ap")])
    config |= {"run_id": "-".join(map(str, [seed, *changes.values()])) or str(seed), "seed": seed}
    for key, value in changes.items():
        *groups, last = key.split(".")
        place = config
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    return run_of(config, rows(values, seed))


def rows(values, seed):
    """Two epochs; a seed moves every number a little."""
    by = 1 + 0.001 * seed
    found = []
    for step in range(1, STEPS + 1):
        row = {"epoch": (step - 1) // (STEPS // 2), "iteration_seconds": values.get("iteration", 1.0)}
        if "time" in values:
            pace = values["early"] if step <= STEPS // 20 else values["late"] if step > STEPS * 9 // 10 else 1.0
            row["loss_seconds"] = values["time"] * by * pace
        if "memory" in values:
            row["peak_memory"] = values["memory"] * by
        if "end" in values:
            row["ap_loss"] = 1 if step <= 5 else values["end"] * by
        for key in ("AP", "AP50", "minimal_perturbation"):
            if key in values and step % (STEPS // 2) == 0:
                row[key] = values[key] * by
        found.append((step, row))
    if "high" in values:
        counts = [[0] * 50 for _ in range(50)]
        counts[0][0], counts[0][40], counts[40][values["sure"]] = 1_000_000, values["high"] + seed, 1000
        counts[40][0] = seed
        found.append((STEPS, {"anchor_scores": counts}))
    return found


def world(base, of, seeds=3):
    """Runs of every kind in four settings, as a dictionary like PAPER says."""
    runs = []
    for name, own in SETTINGS.items():
        for seed in range(seeds):
            for loss in LOSS_TITLES:
                for size in of["batch"]:
                    ap = of["ssd" if name == "ssd" else "losses"][loss]
                    if loss == "ap" and size != 8:
                        ap = of["batch"][size] - of["batch"][8] + ap
                    values = {
                        "AP": ap,
                        "AP50": of["AP50"][loss],
                        "early": of["early"],
                        "late": of["late"],
                        "iteration": of["iteration"],
                        "time": of["time"].get(loss, of["time"]["ohem"])(size),
                        "memory": of["memory"].get(loss, of["memory"]["focal"])(size),
                        "high": of["high"][loss],
                        "sure": of["sure"][loss],
                    }
                    runs.append(make(base, values, seed, **own, **{"loss.name": loss, "batch_size": size}))
                for attack in PERTURBATIONS:
                    if attack != "original":
                        values = {"AP50": of["AP50"][loss], "minimal_perturbation": of["losses"][loss]}
                        runs.append(make(base, values, seed, **own, **{"loss.name": loss, "attack.name": attack}))
            standard = of["ssd" if name == "ssd" else "losses"]["ap"] - of["batch"][8]
            for delta, ap in of["delta"].items():
                runs.append(make(base, {"AP": ap + standard}, seed, **own, delta=delta))
            runs.append(make(base, {"AP": of["plain"] + standard}, seed, **own, interpolated=False))
            box = {"schedule.box_loss_weight": 0}
            for method, end in of["ends"].items():
                runs.append(make(base, {"end": end}, seed, **own, **box, **{"method.name": method}))
                for count, few in zip((2000, 8000), of["proposals"][method], strict=True):
                    changes = {"method.name": method, "proposals": count}
                    runs.append(make(base, {"end": few}, seed, **own, **box, **changes))
            changes = {"method.name": "approximate_gradient", "proposals": 8000, "snapshot": "a-run"}
            runs.append(make(base, {"end": of["proposals"]["snapshot"]}, seed, **own, **box, **changes))
    assert len({run.run_id for run in runs}) == len(runs)
    return Runs(runs)


@pytest.fixture(scope="module")
def worlds(base):
    return {"paper": world(base, PAPER), "opposite": world(base, OPPOSITE), "single": world(base, PAPER, seeds=1)}


@pytest.fixture(scope="module")
def judged(worlds):
    return {name: {claim.name: claim for claim in judge(runs)} for name, runs in worlds.items()}


def test_there_are_enough_claims_with_names_of_their_own():
    assert len(STATEMENTS) >= 18 and len({statement.name for statement in STATEMENTS}) == len(STATEMENTS)
    assert len({statement.text for statement in STATEMENTS}) == len(STATEMENTS)


@pytest.mark.parametrize("name", [statement.name for statement in STATEMENTS])
@pytest.mark.parametrize(("where", "outcome"), [("paper", SUPPORTED), ("opposite", CONTRADICTED)])
def test_each_claim_holds_in_the_papers_world_and_not_in_the_opposite_one(judged, worlds, name, where, outcome):
    claim = judged[where][name]
    assert claim.verdicts and claim.missing == []
    for verdict in claim.verdicts:
        assert verdict.outcome == outcome, verdict
        assert verdict.numbers and verdict.test and verdict.run_ids
        assert set(verdict.run_ids) <= {run.run_id for run in worlds[where].all}


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: statement.name)
def test_a_single_seed_decides_nothing_that_takes_several(judged, statement):
    claim = judged["single"][statement.name]
    wanted = UNDECIDED if statement.seeds > 1 else SUPPORTED
    assert claim.verdicts and {verdict.outcome for verdict in claim.verdicts} == {wanted}
    if statement.seeds > 1:
        assert claim.missing
        assert all("seed=0,1" in missing.command for missing in claim.missing if missing.command)


def test_without_runs_each_claim_says_what_makes_them():
    for claim in judge(Runs([])):
        (missing,) = claim.missing
        assert claim.verdicts == []
        assert missing.command is None or f"python -m src.run -m sweeps={claim.artefact} recipe=" in missing.command


def test_claims_about_one_detector_or_data_are_judged_there_alone(judged):
    of = {name: [verdict.setting for verdict in claim.verdicts] for name, claim in judged["paper"].items()}
    assert len(of["first-retinanet"]) == 3 and len(of["first-ssd-voc"]) == len(of["first-retinanet-coco"]) == 1
    assert "model=ssd" in of["focal-behind-ohem-on-ssd"][0] and "recipe=coco" in of["focal-before-ohem-on-coco"][0]


def test_what_is_missing_of_a_comparison_keeps_it_from_being_supported(worlds):
    less = [run for run in worlds["paper"].all if run.config["delta"] != 2.0]
    claims = {claim.name: claim for claim in judge(Runs(less))}
    assert {verdict.outcome for verdict in claims["delta-1-is-best"].verdicts} == {UNDECIDED}
    assert "no run with δ = 2" in claims["delta-1-is-best"].verdicts[0].numbers
    assert {verdict.outcome for verdict in claims["large-delta-is-worse"].verdicts} == {SUPPORTED}


def test_runs_of_several_machines_are_not_compared(worlds):
    def moved(run):
        elsewhere = run.config | {"environment.device": f"machine of batch size {run.config['batch_size']}"}
        return replace(run, config=elsewhere)

    claims = {claim.name: claim for claim in judge(Runs([moved(run) for run in worlds["paper"].all]))}
    for name in ("memory-is-linear", "time-is-near-linear", "focal-time-is-constant"):
        assert {verdict.outcome for verdict in claims[name].verdicts} == {UNDECIDED}


def test_unfinished_runs_do_not_count(worlds):
    runs = [replace(run, state="unfinished") for run in worlds["paper"].all]
    assert not any(claim.verdicts for claim in judge(Runs(runs)))
    assert any(claim.verdicts for claim in judge(Runs(runs, unfinished_too=True)))


def test_differences_by_hand():
    # Of seeds 0, 1 and 2 the differences are 1, 3 and 5: s = 2, t = 3·√3 / 2 = 2.598 with two degrees of freedom, where
    # Student's t for 95% is 4.30265. The order in which runs are found does not count.
    paired = difference({0: 11.0, 1: 23.0, 2: 35.0}, {2: 30.0, 0: 10.0, 1: 20.0})
    assert paired.test == PAIRED and paired.mean == 3.0 and paired.counts == (3, 3)
    assert paired.half_width == pytest.approx(4.30265 * 2 / 3**0.5, abs=1e-4)
    assert (paired.p_greater, paired.p_less) == pytest.approx((0.06083, 0.93917), abs=1e-4)
    # Of other seeds both variances are 2, Welch's degrees of freedom are 2 and the error is √(2/2 + 2/2).
    welch = difference({0: 27.0, 1: 29.0}, {0: 30.0, 2: 32.0})
    assert welch.test == WELCH and (welch.mean, welch.counts) == (-3.0, (2, 2))
    assert welch.half_width == pytest.approx(4.30265 * 2**0.5, abs=1e-4)
    for one in (difference({0: 1.0}, {0: 2.0}), difference({0: 1.0}, {0: 2.0, 1: 3.0})):
        assert one.half_width != one.half_width and one.p_greater != one.p_greater
    same = difference({0: 5.0, 1: 6.0}, {0: 4.0, 1: 5.0})
    assert (same.mean, same.half_width, same.p_greater, same.p_less) == (1.0, 0.0, 0.0, 1.0)


def test_statistics_by_hand():
    # Mean 3, s = 1, n = 3, against 1: t = 2·√3 = 3.4641, of which Student's t with two degrees leaves 0.0371.
    assert above([2.0, 3.0, 4.0], 1.0) == pytest.approx((0.03709, 0.96291), abs=1e-5)
    assert above([2.0, 2.0], 1.0) == (0.0, 1.0)
    sizes = np.array([1.0, 2.0, 4.0])
    assert exponent(sizes, 3 * sizes**2) == pytest.approx(2) and residual(sizes, 5 + 2 * sizes) == pytest.approx(0)
    # Through (1, 0), (2, 1), (4, 0): the covariance squared over both variances is 1/28, what the line explains.
    assert residual(sizes, np.array([0.0, 1.0, 0.0])) == pytest.approx(27 / 28)
