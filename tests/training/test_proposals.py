"""Trainings on an RPN's proposals."""

import pytest

from src.config.command import words_of
from src.config.identity import run_id, to_plain
from src.config.proposals import rpn_run
from src.config.validate import resolve
from src.utils.errors import UserError
from tests.analysis.logged import config_of
from tests.support.configurations import make_config
from tests.support.runs import NOT_LOGGED, run_here, same_weights, summary_of, weights

SETTINGS = [
    [],
    ["recipe=bccd", "dataset.root='a b'", "model=ssd"],
    ["schedule.learning_rate=0.5", "seed=3", "method=approximate_gradient", "schedule.epochs=2", "test.mirror=true"],
]


def rpn_of(*words):
    config = resolve(make_config(*words), words)
    return resolve(*rpn_run(to_plain(config), words_of(config.command.canonical)))


@pytest.mark.slow
@pytest.mark.parametrize("words", SETTINGS)
def test_the_command_of_an_rpns_run_makes_it_and_other_methods_seeds_and_numbers_have_the_same(words):
    rpn = rpn_of(*words, "proposals=500")
    assert run_id(rpn) == run_id(make_config(*words_of(rpn["command"]["canonical"])))
    assert (rpn["schedule"]["epochs"], rpn["schedule"]["box_loss_weight"], rpn["loss"]["name"]) == (3, 0, "focal")
    assert rpn["schedule"]["learning_rate"] in (0.01, 0.03, 0.5)
    others = [*words, "proposals=7", "seed=4", "method=structured_hinge", "delta=2", "loss=ap", "schedule.epochs=1"]
    assert run_id(rpn_of(*others)) == run_id(rpn)
    assert run_id(rpn_of(*words, "proposals=7", "rpn_epochs=5")) != run_id(rpn)
    assert "rpn_epochs" not in resolve(make_config("rpn_epochs=5"), ["rpn_epochs=5"]).command.canonical


def test_all_anchors_are_the_default_and_change_no_id():
    usual = make_config()
    assert run_id(make_config("proposals=all")) == run_id(usual) == run_id(make_config("rpn_epochs=7"))
    assert len({run_id(make_config(f"proposals={count}")) for count in (500, 1000, "all")}) == 3
    assert run_id(config_of()) == "6028a9a63d"


@pytest.mark.slow
def test_more_proposals_than_anchors_train_as_none_do_and_fewer_rank_less(tiny, tmp_path):
    words = [*tiny, *NOT_LOGGED, "workers=0", "schedule.epochs=1", "rpn_epochs=1"]
    everything = run_here(*words)
    if not (tmp_path / "outputs" / run_id(rpn_of(*words, "proposals=30"))).exists():
        with pytest.raises(UserError, match="train it first"):
            run_here(*words, "proposals=30")
        rpn = rpn_of(*words, "proposals=30")
        assert run_here(*words_of(rpn["command"]["canonical"]), *words).name == run_id(rpn)
    assert same_weights(run_here(*words, "proposals=100000"), everything)
    few = run_here(*words, "proposals=30")
    assert not same_weights(few, everything)
    assert summary_of(few)["metrics"].keys() == summary_of(everything)["metrics"].keys()


@pytest.mark.slow
def test_so_many_steps_without_a_loss_leave_the_weights_and_test_nothing(tiny):
    kept = ["loss=none", "schedule.box_loss_weight=0", "schedule.weight_decay=0", *NOT_LOGGED]
    one, two = (run_here(*tiny, *kept, f"schedule.steps={steps}") for steps in (1, 4))
    assert same_weights(one, two) and summary_of(two)["metrics"] == {}
    trained = run_here(*tiny, *NOT_LOGGED, "schedule.steps=4")
    assert not same_weights(trained, two) and weights(trained).keys() == weights(two).keys()
