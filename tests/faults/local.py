"""Faults of processes and of files on one machine."""

import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from analysis.reading.local import read_local
from slurm.one_machine.daemons import wait_for
from src.runs.state import State
from tests.faults.disturbed_run import LIMIT, STEPS_IN_EPOCH, Kind, Program, Trial, cells_of, parent

BUSY = "being worked on by another process"


def send(signum: signal.Signals, group: bool = False) -> Callable[[Trial], None]:
    """Return a strike that sends a signal to the process, or to all of its group."""

    def strike(trial: Trial) -> None:
        program = trial.start()
        trial.wait_for_a_moment(program)
        program.send(signum, group)
        trial.note_end(program)

    return strike


def kill_repeatedly(trial: Trial) -> None:
    moments = []
    for _ in range(3):
        program = trial.start()
        trial.wait_for_a_moment(program)
        moments.append(trial.moment)
        program.send(signal.SIGKILL)
        trial.note_end(program)
    trial.moment = ", ".join(moments)


def kill_midway(trial: Trial) -> None:
    """Kill the run between its first checkpoint and its end."""
    program = trial.start()
    wait_for(lambda: (trial.directory / "checkpoint.pt").exists(), LIMIT)
    trial.wait_for_a_moment(program, STEPS_IN_EPOCH + 1, trial.setting.steps - 1)
    program.send(signal.SIGKILL)
    program.wait()


def cut(trial: Trial, file: Path) -> None:
    length = file.stat().st_size
    left = trial.random.randrange(length)
    os.truncate(file, left)
    trial.notes.append(f"killed, and *{file.suffix} cut to {left / length:.0%}")


def cut_checkpoint(trial: Trial) -> None:
    kill_midway(trial)
    cut(trial, trial.directory / "checkpoint.pt")


def cut_log(trial: Trial) -> None:
    kill_midway(trial)
    (file,) = trial.directory.glob("wandb/*run-*/run-*.wandb")
    before = _logged(trial)
    cut(trial, file)
    lost = {step for step, _ in before - _logged(trial)}
    trial.notes.append(f"{len(lost)} rows cut off")


def _logged(trial: Trial) -> set[tuple[int, str]]:
    return {cell for run in read_local(trial.outputs).all for cell in cells_of(run.history)}


def full_disk(room: int | None) -> Callable[[Trial], None]:
    """Return a strike that fills the disk but for at most so many bytes, or completely if None."""

    def strike(trial: Trial) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", trial.outputs], check=True)
        trial.cleanup.callback(subprocess.run, ["umount", "--lazy", trial.outputs])
        program = trial.start()
        trial.wait_for_a_moment(program, first=1)
        filler = trial.outputs / "filler"
        with filler.open("wb", 0) as stream:
            try:
                while True:
                    stream.write(bytes(2**16))
            except OSError:
                left = trial.random.randrange(2**16, room) if room else 0
                os.truncate(filler, stream.tell() - left)
        expect_failure(
            trial, program, "No space left on device", (State.FAILED,) if room else (State.FAILED, State.INTERRUPTED)
        )
        trial.notes.append(f"{left // 1024} KiB left")
        filler.unlink()

    return strike


def limit_files(trial: Trial) -> None:
    """Let no file grow beyond a few pages any more, as under a quota."""
    program = trial.start()
    trial.wait_for_a_moment(program, first=1)
    if not program.ended():
        resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, (2**16, 2**16))
    expect_failure(trial, program, "File too large", (State.FAILED,))


def expect_failure(trial: Trial, program: Program, reason: str, states: tuple[State, ...]) -> None:
    """Check that the run fails and that its message gives this reason."""
    trial.note_end(program)
    if trial.state() == State.FINISHED:
        return
    trial.notes.append(f"state {trial.state()}")
    trial.needs_retry = trial.state() == State.FAILED
    trial.expect(trial.state() in states, f"the state was {trial.state()}")
    message = trial.failure() if trial.needs_retry else program.output
    trial.expect(reason in message and reason in program.output, f"no “{reason}” in: {message[-300:]}")


def two_at_once(trial: Trial) -> None:
    programs = [trial.start(), trial.start()]
    trial.moment = "start"
    expect_one_to_work(trial, programs)


def two_at_once_after_a_kill(trial: Trial) -> None:
    kill_midway(trial)
    expect_one_to_work(trial, [trial.start(), trial.start()])


def expect_one_to_work(trial: Trial, programs: list[Program]) -> None:
    """Check that of two started programs one works and the other leaves it alone."""
    codes = [program.wait() for program in programs]
    wait_for(lambda: sum(BUSY in program.output for program in programs) == 1, 5)
    trial.expect(codes == [0, 0], f"exit codes {codes}")
    trial.expect(sum(BUSY in program.output for program in programs) == 1, "not exactly one was sent away")
    trial.notes.append("one was sent away, the other finished the run")


def start_second_midway(trial: Trial) -> None:
    program = trial.start()
    trial.wait_for_a_moment(program, 1, trial.setting.steps // 2)
    expect_one_to_work(trial, [program, trial.start()])


def stop_and_continue(trial: Trial) -> None:
    """Stop the process for a while, in which a second one is started."""
    program = trial.start()
    trial.wait_for_a_moment(program, 1, trial.setting.steps - 1)
    program.send(signal.SIGSTOP)
    second = trial.start()
    second.wait()
    time.sleep(trial.random.uniform(0, 5))
    program.send(signal.SIGCONT)
    expect_one_to_work(trial, [program, second])


def kill_rank(rank: int) -> Callable[[Trial], None]:
    """Return a strike that kills one of the processes that torchrun has started."""

    def strike(trial: Trial) -> None:
        program = trial.start()
        trial.wait_for_a_moment(program, first=1)
        for pid in trial.pids(lambda variables: f"RANK={rank}" in variables):
            if parent(pid) == program.process.pid:
                os.kill(pid, signal.SIGKILL)
        trial.note_end(program)

    return strike


def kill_service(trial: Trial) -> None:
    """Kill the process in which W&B writes the log."""
    program = trial.start()
    trial.wait_for_a_moment(program, first=1)
    for pid in trial.pids():
        with contextlib.suppress(OSError):
            if b"wandb-core" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]:
                os.kill(pid, signal.SIGKILL)
    trial.note_end(program)


WORKER = ("workers=1",)
LOCAL = [
    Kind("SIGKILL", send(signal.SIGKILL), 4),
    Kind("SIGTERM", send(signal.SIGTERM), 2),
    Kind("SIGINT", send(signal.SIGINT), 2),
    Kind("SIGUSR2", send(signal.SIGUSR2), 2),
    Kind("SIGKILL thrice", kill_repeatedly),
    Kind("SIGKILL, workers=1", send(signal.SIGKILL), options=WORKER),
    Kind("SIGTERM to the group, workers=1", send(signal.SIGTERM, group=True), 2, options=WORKER),
    Kind("SIGINT to the group, workers=1", send(signal.SIGINT, group=True), 2, options=WORKER),
    Kind("disk nearly full", full_disk(2**22), 2),
    Kind("disk full", full_disk(None)),
    Kind("limit on the size of files", limit_files),
    Kind("truncated checkpoint", cut_checkpoint, 2),
    Kind("truncated W&B file", cut_log, 3, epochs=10),
    Kind("SIGKILL of W&B's service", kill_service, 3),
    Kind("two processes at once", two_at_once),
    Kind("two processes at once after a SIGKILL", two_at_once_after_a_kill),
    Kind("a second process", start_second_midway, epochs=60),  # the first one must still be at work when it has begun
    Kind("SIGSTOP, a second process, SIGCONT", stop_and_continue, 2),
    *(
        Kind(name, strike, count, "torchrun", processes=2, epochs=3)
        for name, strike, count in [
            ("SIGKILL of rank 0", kill_rank(0), 1),
            ("SIGKILL of rank 1", kill_rank(1), 2),
            ("SIGKILL of torchrun", send(signal.SIGKILL), 1),
            ("SIGTERM to torchrun", send(signal.SIGTERM), 1),
            ("SIGINT to torchrun's group", send(signal.SIGINT, group=True), 1),
        ]
    ),
]
