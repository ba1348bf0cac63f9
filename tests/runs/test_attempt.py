import json
import random
import signal
import time

import pytest
import torch

from analysis.reading.local import read_local
from src.runs.attempt import hold_run
from src.runs.state import State, state
from src.utils.distributed import World
from src.utils.errors import UserError
from src.utils.signals import Interrupted, Interruption
from tests.conftest import call, run_here, start


def attempt(directory, name, work, world, retry=False):
    with hold_run(directory, name, world, retry) as guard:
        if guard is not None:
            work(guard)


def finish(directory):
    (directory / "summary.json").write_text("{}")


def test_a_run_that_finishes(tmp_path):
    directory = tmp_path / "run"
    assert state(directory) == State.MISSING
    seen = []
    attempt(directory, "it", lambda hold: (seen.append(state(directory)), finish(directory)), World())
    assert seen == [State.RUNNING] and state(directory) == State.FINISHED


def test_a_failure_is_noted_said_and_retried_only_when_asked(tmp_path):
    directory = tmp_path / "run"

    def fail(hold):
        raise UserError("the reason")

    with pytest.raises(UserError, match="the reason"):
        attempt(directory, "it", fail, World())
    assert state(directory) == State.FAILED
    assert "in fail" in json.loads((directory / "failed.json").read_text())["traceback"]
    with pytest.raises(UserError, match="has failed before .* the reason.*retry=true"):
        attempt(directory, "it", lambda hold: finish(directory), World())
    attempt(directory, "it", lambda hold: finish(directory), World(), retry=True)
    assert state(directory) == State.FINISHED


def test_what_a_killed_writer_left_is_removed(tmp_path):
    (tmp_path / ".checkpoint.pt.123").write_text("half")
    (tmp_path / "checkpoint.pt").write_text("whole")
    attempt(tmp_path, "it", lambda hold: finish(tmp_path), World())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "claim.1", "summary.json"]


def test_an_error_on_the_way_to_a_stop_is_no_failure(tmp_path):
    def stopped(hold):
        signal.raise_signal(signal.SIGTERM)
        raise RuntimeError("the other process has gone")

    with pytest.raises(Interrupted, match="SIGTERM"):
        attempt(tmp_path, "it", stopped, World())
    assert state(tmp_path) == State.INTERRUPTED


def test_another_process_gone_is_no_failure_of_this_one(tmp_path):
    def lose(hold):
        raise RuntimeError("[/torch/third_party/gloo/gloo/transport/tcp/pair.cc:545] Connection closed by peer")

    with pytest.raises(UserError, match="another process of this run is gone"):
        attempt(tmp_path, "it", lose, World())
    assert state(tmp_path) == State.INTERRUPTED


def test_a_second_ctrl_c_stops_at_once():
    before = signal.getsignal(signal.SIGINT)
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted):
            interruption.check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR2])
def test_a_signal_stops_at_the_next_step_and_the_same_command_goes_on_from_it(signum, tiny, tmp_path):
    overrides = [*tiny, "batch_size=1", "schedule.epochs=3", "schedule.evaluate_every=3", "workers=1"]
    undisturbed = run_here(*overrides, "wandb.mode=disabled", f"outputs={tmp_path / 'undisturbed'}")
    process = start(*overrides)
    directory = tmp_path / "outputs" / undisturbed.name
    while not (directory / "checkpoint.pt").exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    time.sleep(random.uniform(0, 0.5))
    process.send_signal(signum)
    output, _ = process.communicate()
    if process.returncode:  # it had not just come to its end
        assert process.returncode == 128 + signum and "run the same command again to resume" in output, output
        assert "Traceback" not in output
        progress = torch.load(directory / "checkpoint.pt", weights_only=True)["progress"]
        assert state(directory) == State.INTERRUPTED and 13 <= progress["step"] < 39

    code, output = call(*overrides)
    assert code == 0, output
    expected, resumed = (
        torch.load(path / "checkpoint.pt", weights_only=True)["model"] for path in (undisturbed, directory)
    )
    assert all(torch.equal(expected[key], resumed[key]) for key in expected)
    (logged,) = read_local(tmp_path / "outputs").all
    assert logged.finished and logged.history["global_step"].tolist() == list(range(1, 40))
    assert logged.history["classification_loss"].notna().all() and logged.history["AP"].notna().sum() == 1


def test_a_run_that_another_process_holds_is_left_alone(tiny, tmp_path):
    overrides = [*tiny, "batch_size=1", "schedule.epochs=3"]
    first, second = start(*overrides), start(*overrides)
    outputs = [process.communicate()[0] for process in (first, second)]
    assert first.returncode == second.returncode == 0
    assert sum("is being worked on by another process" in output for output in outputs) == 1
    (logged,) = read_local(tmp_path / "outputs").all
    assert logged.finished and len(list(tmp_path.glob("outputs/*/wandb/*run-*"))) == 1


def test_a_sweep_goes_on_after_a_failure_and_tells_at_the_end(tiny, tmp_path):
    code, output = call("-m", *tiny, "schedule.learning_rate=1e18,0.01", "schedule.warmup_iterations=0")
    assert code == 1 and "error: 1 of 2 runs failed" in output and "Try a lower schedule.learning_rate" in output
    assert "Traceback" not in output
    assert sorted(state(path) for path in (tmp_path / "outputs").iterdir() if path.name[0] != ".") == [
        State.FAILED,
        State.FINISHED,
    ]
    code, output = call("-m", *tiny, "schedule.learning_rate=1e18,0.01", "schedule.warmup_iterations=0")
    assert code == 1 and "has failed before" in output and "is finished" in output
