import json
import signal
import threading

import pytest

from src.data.loading import LoaderKilled
from src.runs import run_lock
from src.runs.attempt import hold_run
from src.runs.state import State, read_run, state
from src.runs.tracking import ServiceLost
from src.utils.distributed import World
from src.utils.errors import UserError
from src.utils.files import write_json
from src.utils.signals import SIGNALS, Interrupted, Interruption
from tests.support.runs import leave_finished as finish


def attempt(directory, name, work, world, retry=False):
    with hold_run(directory, name, world, retry=retry) as guard:
        if guard is not None:
            work(guard)


def test_a_run_is_running_while_it_is_held_and_then_finished(tmp_path):
    directory = tmp_path / "run"
    assert state(directory) == State.MISSING
    seen = []
    attempt(directory, "it", lambda guard: (seen.append(state(directory)), finish(directory)), World())
    assert seen == [State.RUNNING] and state(directory) == State.FINISHED


def test_a_failure_is_recorded_and_retried_only_on_request(tmp_path):
    directory = tmp_path / "run"

    def fail(guard):
        guard.note_step()
        raise UserError("the reason")

    with pytest.raises(UserError, match="the reason"):
        attempt(directory, "it", fail, World())
    assert state(directory) == State.FAILED
    assert "in fail" in json.loads((directory / "failed.json").read_text())["traceback"]
    with pytest.raises(UserError, match="has failed before .* the reason.*retry=true"):
        attempt(directory, "it", lambda guard: finish(directory), World())
    attempt(directory, "it", lambda guard: finish(directory), World(), retry=True)
    assert state(directory) == State.FINISHED


def test_a_failure_before_the_first_step_is_recorded_and_needs_no_request(tmp_path):
    def fail(guard):
        raise UserError("the reason")

    with pytest.raises(UserError, match="the reason"):
        attempt(tmp_path, "it", fail, World())
    assert state(tmp_path) == State.FAILED and read_run(tmp_path).refused_failure is None
    attempt(tmp_path, "it", lambda guard: finish(tmp_path), World())
    assert state(tmp_path) == State.FINISHED


def test_a_failure_that_an_earlier_version_noted_is_retried_only_on_request(tmp_path):
    (tmp_path / "failed.json").write_text(json.dumps({"error": "the reason", "time": 0, "traceback": ""}))
    with pytest.raises(UserError, match="has failed before"):
        attempt(tmp_path, "it", finish, World())


def test_what_a_folder_holds_of_other_data_is_set_aside(tmp_path):
    held = {name: tmp_path / name for name in ("summary.json", "checkpoint.pt", "data.json", "config.yaml", "run.log")}
    for name, file in held.items():
        file.write_text(json.dumps({"fingerprint": "old"}) if name == "data.json" else "{}")
    finish(tmp_path)
    seen = []

    def work(guard):
        seen.append(sorted(path.name for path in tmp_path.iterdir()))
        (tmp_path / "data.json").write_text(json.dumps({"fingerprint": "new"}))
        finish(tmp_path)

    def again(on_other_data):
        with hold_run(tmp_path, "it", World(), retry=True, on_other_data=on_other_data) as guard:
            if guard is not None:
                work(guard)

    old, new = {"fingerprint": "old"}, {"fingerprint": "new"}
    again(old)
    assert seen == [["claim.1", "earlier-1", "run.log"]]
    aside = sorted(path.name for path in (tmp_path / "earlier-1").iterdir())
    assert aside == ["checkpoint.pt", "config.yaml", "data.json", "summary.json", "wandb"]
    again(old)  # another process compared the data before this one began the run anew
    again(None)
    assert len(seen) == 1 and state(tmp_path) == State.FINISHED
    again(new)
    assert len(seen) == 2 and (tmp_path / "earlier-2/data.json").exists()


@pytest.mark.parametrize("other", [ServiceLost, LoaderKilled])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR2])
def test_the_signal_counts_where_other_processes_are_stopped_with_the_run(other, signum, tmp_path):
    def stopped(guard):
        signal.raise_signal(signum)
        raise other

    with pytest.raises(Interrupted, match=f"^stopped by {signum.name};") as caught:
        attempt(tmp_path, "it", stopped, World())
    assert caught.value.signum == signum


def test_temporary_files_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / ".checkpoint.pt.123").write_text("half")
    (tmp_path / ".submitted.json.456").write_text("of a command that has no lock, and may be writing it")
    (tmp_path / "checkpoint.pt").write_text("whole")
    attempt(tmp_path, "it", lambda guard: finish(tmp_path), World())
    left = [".submitted.json.456", "checkpoint.pt", "claim.1", "summary.json", "wandb"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left


def test_an_error_after_a_signal_is_an_interruption_and_no_failure(tmp_path):
    def stopped(guard):
        signal.raise_signal(signal.SIGTERM)
        raise RuntimeError("the other process has gone")

    with pytest.raises(Interrupted, match="SIGTERM"):
        attempt(tmp_path, "it", stopped, World())
    assert state(tmp_path) == State.INTERRUPTED


@pytest.mark.parametrize("signum", SIGNALS, ids=lambda signum: signum.name)
def test_each_signal_to_stop_ends_a_run_as_interrupted(signum, tmp_path):
    def stop(guard):
        guard.check_stop()
        signal.raise_signal(signum)
        guard.check_stop()

    with pytest.raises(Interrupted, match=f"stopped by {signum.name}; run the same command again"):
        attempt(tmp_path, "it", stop, World())
    assert state(tmp_path) == State.INTERRUPTED


def test_the_loss_of_another_process_is_no_failure_of_the_run(tmp_path):
    def lose(guard):
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


def test_what_is_written_while_the_folder_is_out_of_reach_is_written_when_it_is_back(tmp_path, monkeypatch):
    directory, away = tmp_path / "run", tmp_path / "away"
    monkeypatch.setattr(run_lock, "HEARTBEAT_S", 0.1)

    def write():
        if not tries:
            directory.rename(away)
            threading.Timer(0.3, away.rename, [directory]).start()
        tries.append(directory)
        write_json(directory / "summary.json", {"metrics": {}})

    tries = []
    attempt(directory, "it", lambda guard: guard.write(write), World())
    assert len(tries) == 2 and read_run(directory).summary == {"metrics": {}}
