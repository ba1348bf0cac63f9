import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from src.runs import run_lock
from src.runs.run_lock import LockLost, acquire, read_lock
from tests.conftest import ROOT

RACE = """
import sys, time
from pathlib import Path
from src.runs.run_lock import acquire
directory, begin, hold = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
time.sleep(max(begin - time.time(), 0))
for round in range(int(sys.argv[4])):
    mine = acquire(directory)
    if mine is not None:
        log = directory / "log"
        with open(log, "a") as file:
            file.write("begin\\n")
        time.sleep(hold)
        with open(log, "a") as file:
            file.write("end\\n")
        mine.release()
    else:
        time.sleep(0.001)
"""


def start(*arguments):
    return subprocess.Popen([sys.executable, "-c", RACE, *map(str, arguments)], cwd=ROOT)


def pretend_elsewhere(directory, **changes):
    """Makes the present claim look as if a process on another machine held it."""
    (file,) = directory.glob("claim.*")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"machine": "another", "host": "there"} | changes))
    return file


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(run_lock, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(run_lock, "STALE_AFTER_S", 1.0)


def test_one_claim_at_a_time(tmp_path):
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


@pytest.mark.parametrize("trial", range(3))
def test_of_processes_that_begin_at_one_moment_exactly_one_holds_it(trial, tmp_path):
    begin = time.time() + 1.5
    processes = [start(tmp_path, begin, 30, 1) for _ in range(6)]
    time.sleep(4)
    assert sum(process.poll() is None for process in processes) == 1
    assert (tmp_path / "log").read_text() == "begin\n"
    (holder,) = (process for process in processes if process.poll() is None)
    assert acquire(tmp_path) is None
    holder.kill()
    holder.wait()
    mine = acquire(tmp_path)  # at once: the holder was on this machine
    assert mine is not None
    mine.release()


def test_many_takings_and_releases_never_overlap(tmp_path):
    processes = [start(tmp_path, time.time() + 1, 0.002, 150) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    lines = (tmp_path / "log").read_text().split()
    assert len(lines) > 100 and lines == ["begin", "end"] * (len(lines) // 2)


def test_a_process_number_used_again_is_not_taken_for_the_holder(tmp_path):
    mine = acquire(tmp_path)
    (file,) = tmp_path.glob("claim.*")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"started": "1"}))
    other = acquire(tmp_path)
    assert other is not None
    with pytest.raises(LockLost):
        mine.check()
    mine.release()  # and harms nobody
    other.check()
    other.release()


def test_a_stopped_process_keeps_its_claim(tmp_path):
    process = start(tmp_path, 0, 30, 1)
    while not (tmp_path / "log").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGSTOP)
    assert acquire(tmp_path) is None
    process.kill()
    process.wait()


def test_a_holder_on_another_machine_is_alive_while_it_beats(tmp_path, quick):
    holder = acquire(tmp_path)
    pretend_elsewhere(tmp_path)
    begun = time.monotonic()
    assert acquire(tmp_path) is None and time.monotonic() - begun < 0.9
    holder._released.set()  # it dies without a word
    begun = time.monotonic()
    mine = acquire(tmp_path)
    assert mine is not None and 0.5 < time.monotonic() - begun < 3
    mine.release()


def test_clocks_of_other_machines_do_not_matter(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    holder = acquire(tmp_path)
    pretend_elsewhere(tmp_path)
    assert acquire(tmp_path) is None
    holder.release()


def test_of_several_that_find_a_dead_holder_one_takes_over(tmp_path, quick):
    acquire(tmp_path)._released.set()
    pretend_elsewhere(tmp_path)
    taken = []
    threads = [threading.Thread(target=lambda: taken.append(acquire(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (mine,) = (one for one in taken if one is not None)
    mine.check()
    mine.release()


def test_slurm_job_that_was_requeued_takes_over_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    holder = acquire(tmp_path)
    pretend_elsewhere(tmp_path)
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    monkeypatch.setattr(run_lock, "STALE_AFTER_S", 0.0)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    mine = acquire(tmp_path)
    assert mine is not None
    with pytest.raises(LockLost):
        holder.check()
    mine.release()


def test_an_empty_claim_is_dead_after_a_silence(tmp_path, quick):
    (tmp_path / "claim.3").write_text("")
    mine = acquire(tmp_path)
    assert mine.number == 4
    mine.release()
