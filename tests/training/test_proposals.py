"""Trainings on an RPN's proposals, and without a loss."""

import shlex

import pytest
import torch

from src.config.identity import run_id
from src.config.needs import needed_runs
from src.config.validate import resolve
from src.detectors.detector import build_detector
from src.detectors.proposals import propose
from src.runs.kept_rows import KeptRows
from src.training.checkpoint import load_weights
from src.training.experiment import build_proposals
from tests.support.configurations import make_config
from tests.support.runs import NOT_LOGGED, run_folders, run_here, same_weights, summary_of, weights

SETTINGS = [
    ["recipe=bccd", "dataset.root='a b'", "model=ssd", "proposals=500"],
    ["schedule.learning_rate=0.5", "seed=3", "method=approximate_gradient", "test.mirror=true", "proposals=500"],
    ["proposals=500", "snapshot='proposals:70 schedule.epochs:2'"],
]


def trained_weights(directory):
    """The weights of a run but for what its batch norms have seen."""
    of_batch_norms = ("running_mean", "running_var", "num_batches_tracked")
    return {key: value.tolist() for key, value in weights(directory).items() if not key.endswith(of_batch_norms)}


def imbalances(directory):
    """What a run has logged of each step, from its checkpoint."""
    rows = KeptRows.from_plain(torch.load(directory / "checkpoint.pt", weights_only=True)["progress"]["rows"])
    return [row for row in rows if "imbalance" in row]


def rpn_of(*words):
    needed = {run.key: run for run in needed_runs(resolve(make_config(*words), words))}
    return resolve(needed["proposals"].config, needed["proposals"].overrides)


@pytest.mark.slow
@pytest.mark.parametrize("words", SETTINGS)
def test_the_command_of_an_rpns_run_makes_it_and_other_methods_seeds_and_numbers_have_the_same(words):
    rpn = rpn_of(*words)
    command = shlex.split(rpn.command.canonical)
    assert run_id(rpn) == run_id(make_config(*command[command.index("-m") + 2 :]))
    assert (rpn.schedule.epochs, rpn.schedule.box_loss_weight, rpn.loss.name) == (3, 0, "focal")
    assert rpn.schedule.learning_rate in (0.015, 0.02, 0.5) and needed_runs(rpn) == []
    others = [*words, "proposals=7", "seed=4", "method=structured_hinge", "delta=2", "schedule.epochs=1"]
    assert run_id(rpn_of(*others)) == run_id(rpn)
    assert run_id(rpn_of(*words, "rpn_epochs=5")) != run_id(rpn)


@pytest.mark.slow
def test_all_anchors_are_the_default_and_change_no_id():
    usual = make_config()
    assert run_id(make_config("proposals=all")) == run_id(usual) == run_id(make_config("rpn_epochs=7"))
    assert len({run_id(make_config(f"proposals={count}")) for count in (500, 1000, "all")}) == 3
    assert run_id(make_config("proposals=9")) != run_id(make_config("proposals=9", "rpn_epochs=7"))
    assert "rpn_epochs" not in resolve(make_config("rpn_epochs=5"), ["rpn_epochs=5"]).command.canonical


@pytest.mark.slow
def test_more_proposals_than_anchors_train_as_none_do_and_fewer_do_not(tiny, tmp_path):
    words = [*tiny, *NOT_LOGGED, "schedule.epochs=1", "rpn_epochs=1"]
    everything = run_here(*words)
    rpn = tmp_path / "outputs" / run_id(rpn_of(*words, "proposals=30"))
    assert not rpn.exists()
    few = run_here(*words, "proposals=30")
    trained = summary_of(rpn)["metrics"], (rpn / "checkpoint.pt").stat().st_mtime_ns
    assert same_weights(run_here(*words, "proposals=100000"), everything) and not same_weights(few, everything)
    assert (summary_of(rpn)["metrics"], (rpn / "checkpoint.pt").stat().st_mtime_ns) == trained
    classes = len(summary_of(few)["data"]["classes"])
    for of_all, of_few in zip(imbalances(everything), imbalances(few), strict=True):
        assert of_few["positives"] == of_all["positives"] > 0
        assert of_all["ranked_logits"] == 4 * summary_of(few)["anchors"] * classes  # SSD ignores none
        assert 0 <= of_few["ranked_logits"] / classes - 4 * 30 <= of_few["positives"]
        for of_one in (of_all, of_few):
            assert of_one["ranked_logits"] == of_one["positives"] + of_one["negatives"]
            assert of_one["imbalance"] == of_one["negatives"] / of_one["positives"]
    config, cpu, images = resolve(make_config(*words, "proposals=30")), torch.device("cpu"), torch.randn(2, 3, 64, 64)
    detector = build_detector(config.model, 64)
    network = detector.build_network(1).to(memory_format=torch.channels_last).eval()
    load_weights(rpn, network)
    assert torch.equal(build_proposals(config, detector, rpn, cpu)(images), propose(network, images, 30))
    assert len(run_folders(tmp_path / "outputs")) == 4 and summary_of(few)["needs"] == {"proposals": rpn.name}


@pytest.mark.slow
def test_so_many_steps_without_a_loss_leave_the_weights_and_test_nothing(tiny):
    kept = ["loss=none", "schedule.box_loss_weight=0", "schedule.weight_decay=0", *NOT_LOGGED]
    one, two = (run_here(*tiny, *kept, f"schedule.steps={steps}") for steps in (1, 4))
    assert trained_weights(one) == trained_weights(two) and summary_of(two)["metrics"] == {}
    decaying = ["schedule.steps=4", "schedule.decay_at=[0.5]", "schedule.warmup_iterations=0"]
    trained = run_here(*tiny, *NOT_LOGGED, *decaying)
    rates = [row["learning_rate"] for row in imbalances(trained)]
    assert rates == pytest.approx([rates[0], rates[0], rates[0] / 10, rates[0] / 10])
    assert trained_weights(trained) != trained_weights(two)
