import json
import os
import signal
import threading
import time

import pytest

from slurm.one_machine.daemons import wait_for
from src.runs import run_lock
from src.runs.run_lock import LockLost, acquire, is_process_alive, read_lock
from src.utils.errors import UserError
from tests.support.exhaustive import trials
from tests.support.programs import start_python

RACE = """
import os, sys, time
from pathlib import Path
from src.runs.run_lock import acquire
directory, seconds, rounds = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
(directory.parent / f"ready.{os.getpid()}").touch()
while not (directory.parent / "start").exists():
    time.sleep(0.001)
for _ in range(rounds):
    lock = acquire(directory)
    if lock is not None:
        log = directory.parent / "log"
        with open(log, "a") as file:
            file.write("begin\\n")
        time.sleep(seconds)
        with open(log, "a") as file:
            file.write("end\\n")
        lock.release()
    else:
        time.sleep(0.001)
"""
HELD = 600  # seconds: until the test kills the process


def start(directory, processes, seconds, rounds):
    """Start processes that all try at one moment to lock a run, so often, and hold the lock for so many seconds."""
    directory.mkdir()
    started = [start_python(["-c", RACE, directory, seconds, rounds], fresh=True) for _ in range(processes)]
    assert wait_for(lambda: len(list(directory.parent.glob("ready.*"))) == processes, 60)
    (directory.parent / "start").touch()
    return started


def pretend_elsewhere(directory, **changes):
    """Make the present lock look as if a process on another machine held it."""
    (file,) = directory.glob("claim.*")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"machine": "another", "host": "there"} | changes))
    return file


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(run_lock, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(run_lock, "STALE_AFTER_S", 1.0)


def test_one_lock_at_a_time(tmp_path):
    first = acquire(tmp_path)
    assert first is not None and acquire(tmp_path) is None
    assert read_lock(tmp_path)["alive"] and read_lock(tmp_path)["pid"] == os.getpid()
    first.release()
    assert not read_lock(tmp_path)["alive"]
    second = acquire(tmp_path)
    assert second.number == 2 and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(LockLost, match="taken over"):
        first.check()
    second.check()
    second.release()


def test_a_process_that_was_overtaken_while_it_took_over_has_no_lock(tmp_path, monkeypatch):
    def overtaken(directory, number):
        monkeypatch.undo()
        acquire(directory).release()
        overtaking.append(acquire(directory))
        return False

    overtaking = []
    acquire(tmp_path).release()
    monkeypatch.setattr(run_lock, "_is_alive", overtaken)
    assert acquire(tmp_path) is None  # the next number is free again
    overtaking[0].check()
    assert [file.name for file in tmp_path.iterdir()] == ["claim.3"]
    overtaking[0].release()


@pytest.mark.parametrize("trial", trials(1, 5))
def test_of_processes_that_start_at_one_moment_exactly_one_gets_the_lock(trial, tmp_path):
    directory = tmp_path / "run"
    processes = start(directory, processes=6, seconds=HELD, rounds=1)
    assert wait_for(lambda: sum(process.poll() is None for process in processes) == 1, 60)
    (holder,) = (process for process in processes if process.poll() is None)
    assert wait_for((tmp_path / "log").exists, 60) and (tmp_path / "log").read_text() == "begin\n"
    assert acquire(directory) is None
    holder.kill()
    assert wait_for(lambda: not read_lock(directory)["alive"], 60)  # although nobody has waited for its end
    lock = acquire(directory)  # at once: the holder was on this machine
    assert lock is not None
    lock.release()
    holder.wait()


@pytest.mark.slow
def test_locks_that_are_taken_and_released_many_times_never_overlap(tmp_path):
    processes = start(tmp_path / "run", processes=4, seconds=0.002, rounds=150)
    assert [process.wait() for process in processes] == [0] * 4
    lines = (tmp_path / "log").read_text().split()
    assert len(lines) > 100 and lines == ["begin", "end"] * (len(lines) // 2)


def test_a_later_process_of_the_same_number_is_not_the_holder(tmp_path):
    lock = acquire(tmp_path)
    (file,) = tmp_path.glob("claim.*")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"started": "1"}))
    other = acquire(tmp_path)
    assert other is not None
    with pytest.raises(LockLost):
        lock.check()
    lock.release()
    other.check()
    other.release()


def test_a_process_that_another_user_may_not_see_is_not_taken_for_dead(tmp_path, monkeypatch):
    lock = acquire(tmp_path)
    content = read_lock(tmp_path)

    def refuse(pid, signal):
        raise PermissionError

    hidden = content | {"pid": 2**22 + 1}  # more than there can be: no file in /proc
    assert is_process_alive(content) and is_process_alive(hidden) is False
    monkeypatch.setattr(os, "kill", refuse)
    assert is_process_alive(content) and is_process_alive(hidden) is None
    lock.release()


def test_a_stopped_process_keeps_its_lock(tmp_path):
    (process,) = start(tmp_path / "run", processes=1, seconds=HELD, rounds=1)
    assert wait_for((tmp_path / "log").exists, 60)
    process.send_signal(signal.SIGSTOP)
    assert acquire(tmp_path / "run") is None
    process.kill()
    process.wait()


@pytest.mark.slow
def test_a_holder_on_another_machine_is_alive_while_its_heartbeat_goes_on(tmp_path, quick):
    holder = acquire(tmp_path)
    pretend_elsewhere(tmp_path)
    begin = time.monotonic()
    assert acquire(tmp_path) is None and time.monotonic() - begin < 0.9
    holder._released.set()  # as if it had died
    begin = time.monotonic()
    lock = acquire(tmp_path)
    assert lock is not None and 0.5 < time.monotonic() - begin < 3
    lock.release()


def test_clocks_of_other_machines_do_not_matter(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    holder = acquire(tmp_path)
    pretend_elsewhere(tmp_path)
    assert acquire(tmp_path) is None
    holder.release()


@pytest.mark.slow
def test_one_of_several_takes_over_from_a_dead_holder(tmp_path, quick):
    acquire(tmp_path)._released.set()
    pretend_elsewhere(tmp_path)
    taken = []
    threads = [threading.Thread(target=lambda: taken.append(acquire(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (lock,) = (one for one in taken if one is not None)
    lock.check()
    lock.release()


def test_a_requeued_slurm_job_takes_over_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    holder = acquire(tmp_path)
    pretend_elsewhere(tmp_path)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    begin = time.monotonic()
    lock = acquire(tmp_path)
    assert time.monotonic() - begin < 5
    assert lock is not None
    with pytest.raises(LockLost):
        holder.check()
    lock.release()


@pytest.mark.slow
def test_an_empty_lock_file_is_dead_after_a_while(tmp_path, quick):
    (tmp_path / "claim.3").write_text("")
    lock = acquire(tmp_path)
    assert lock.number == 4
    lock.release()


def test_a_worker_of_the_same_start_of_a_job_keeps_its_run(tmp_path, quick, monkeypatch):
    """As where several nodes of one allocation share a sweep."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    holder = acquire(tmp_path)
    pretend_elsewhere(tmp_path)
    assert acquire(tmp_path) is None
    holder.check()
    holder.release()


def test_heartbeats_survive_a_folder_out_of_reach(tmp_path, quick, caplog):
    directory = tmp_path / "run"
    directory.mkdir()
    holder = acquire(directory)
    directory.rename(tmp_path / "away")
    time.sleep(0.5)
    checks = threading.Thread(target=holder.check)
    checks.start()  # which waits
    time.sleep(0.2)
    assert checks.is_alive() and not holder.lost
    (tmp_path / "away").rename(directory)
    checks.join(5)
    assert not checks.is_alive() and caplog.text.count("is out of reach") == 1
    pretend_elsewhere(directory)
    assert acquire(directory) is None  # as the heartbeats go on
    holder.release()


def test_a_folder_out_of_reach_for_long_is_an_error(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(run_lock, "UNREACHABLE_S", 0.3)
    (tmp_path / "run").mkdir()
    holder = acquire(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "away")
    with pytest.raises(UserError, match="cannot be reached: No such file"):
        holder.check()
    holder.release()


@pytest.mark.slow
def test_waiting_for_a_sign_of_life_is_said_and_bounded(tmp_path, quick, caplog):
    acquire(tmp_path)._released.set()
    file = pretend_elsewhere(tmp_path)
    for age in (-1e6, 1e6):  # whatever the clock of the machine by which the file is dated
        os.utime(file, (time.time() - age,) * 2)
        run_lock._seen.clear()
        begin = time.monotonic()
        with caplog.at_level("INFO"):
            lock = acquire(tmp_path)
        assert lock is not None and 0.9 < time.monotonic() - begin < 3
        assert caplog.text.count("waiting at most 1 s for a sign of life of process") == 1
        lock._released.set()
        file = pretend_elsewhere(tmp_path)
        caplog.clear()


@pytest.mark.slow
def test_of_many_runs_of_a_dead_machine_only_the_first_takes_a_minute(tmp_path, quick):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        acquire(tmp_path / name)._released.set()
        pretend_elsewhere(tmp_path / name)
        read_lock(tmp_path / name)
    begin = time.monotonic()
    for name in ("first", "second"):
        acquire(tmp_path / name).release()
    assert time.monotonic() - begin < 1.6
