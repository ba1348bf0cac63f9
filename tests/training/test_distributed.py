import json

import pytest

from analysis.reading.local import read_local
from src.config.identity import run_id, run_name
from src.config.validate import resolve
from tests.support.configurations import make_config
from tests.support.exhaustive import EXHAUSTIVE
from tests.support.programs import call_run, run_python
from tests.support.runs import ONE_STEP, TINY, summary_of, weights

pytestmark = [pytest.mark.slow, pytest.mark.multiprocess]

# The losses that differ in what the processes exchange, and by whom the background is scored. All losses are compared
# between processes in tests/losses; here it is the step of training.
LOSSES = [["loss=ap"], ["loss=ohem"]]
if EXHAUSTIVE:
    LOSSES += [["loss=auc"], ["loss=focal"], ["step=sigmoid"]]
    LOSSES += [["method=approximate_gradient"], ["method=structured_hinge"]]


def train(processes: int, runs: list[list[str]]) -> None:
    """Make runs with these overrides, one after another, each with so many processes."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    program = ["-m", "tests.training.train_together"]
    done = run_python([*(torchrun if processes > 1 else []), *program, json.dumps(runs)], fresh=processes > 1)
    assert done.returncode == 0, done.stderr


def assert_close(first, second):
    """Hold two dicts of weights together, but for the rounding of a network in float64."""
    for key, value in first.items():
        if value.is_floating_point():
            assert (value - second[key]).abs().max() <= 1e-6 * value.abs().max(), key


@pytest.fixture(scope="module")
def trained(tiny_data, tmp_path_factory):
    """The overrides of one step of each loss, and the outputs of one process, and those of two together."""
    alone, together = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("together")
    runs = [[*TINY, f"dataset.root={tiny_data}", *ONE_STEP, *loss] for loss in LOSSES]
    train(1, [[*overrides, f"outputs={alone}"] for overrides in runs])
    per_process = [*runs[0], "ranking=per_process"]
    overlapping = [*runs[0], "overlap=true", f"outputs={together.with_name('overlapping')}"]
    train(2, [*([*overrides, f"outputs={together}"] for overrides in [*runs, per_process]), overlapping])
    return runs, alone, together


@pytest.mark.parametrize("index", range(len(LOSSES)), ids=[loss[0] for loss in LOSSES])
def test_two_processes_make_the_step_that_one_makes(index, trained):
    runs, alone, together = trained
    name = run_id(make_config(*runs[index]))
    assert_close(weights(alone / name), weights(together / name))
    (one, two) = (next(r for r in read_local(outputs).all if r.run_id == name) for outputs in (alone, together))
    for key in ("loss", "classification_loss", "box_loss", "positives"):
        assert two.last(key) == pytest.approx(one.last(key), rel=1e-6), key
    summaries = [summary_of(outputs / name) for outputs in (alone, together)]
    assert summaries[0]["metrics"].keys() == summaries[1]["metrics"].keys()
    assert summaries[0]["metrics"]["AP50"] == pytest.approx(summaries[1]["metrics"]["AP50"], abs=0.1)


def test_the_step_is_the_same_with_overlap(trained):
    runs, alone, together = trained
    name = run_id(make_config(*runs[0], "overlap=true"))
    assert_close(weights(alone / name), weights(together.with_name("overlapping") / name))


def test_one_process_writes_and_logs(trained):
    runs, _, outputs = trained
    for directory in outputs.iterdir():
        assert len(list(directory.glob("wandb/*run-*"))) == 1 and len(list(directory.glob("claim.*"))) == 1
    assert len(list(outputs.iterdir())) == len(runs) + 1


def test_ranking_per_process_is_another_run(trained):
    runs, _, outputs = trained
    ids = {run_id(make_config(*runs[0], *more)) for more in (["processes=2"], ["processes=1", "ranking=per_process"])}
    assert ids == {run_id(make_config(*runs[0]))}
    config = make_config(*runs[0], "ranking=per_process", "processes=2")
    assert run_id(config) not in ids and "ranking=per_process processes=2" in run_name(resolve(config))
    assert run_id(make_config(*runs[0], "ranking=per_process", "processes=4")) != run_id(config)
    logged = {run.run_id: run.last("classification_loss") for run in read_local(outputs).all}
    assert abs(logged[run_id(config)] - logged[ids.pop()]) > 1e-5
    # What is not ranked does not depend on who ranks.
    assert run_id(make_config("loss=focal", "ranking=per_process", "processes=2")) == run_id(make_config("loss=focal"))


def test_the_number_of_processes_must_be_that_of_torchrun_and_divide_the_batch(tiny):
    code, output = call_run(*tiny, "processes=2")
    assert code == 1 and "processes=2, but 1 started" in output and "torchrun" in output
    code, output = call_run(*tiny, "processes=3")
    assert code == 1 and "batch_size=4 must be a multiple of processes=3" in output
