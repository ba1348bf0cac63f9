"""Faults of jobs on a SLURM, a real one on this machine."""

import contextlib
import os
import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from slurm.one_machine.daemons import client, environment, pid_of, stop, wait_for
from src.runs.run_lock import read_lock
from src.runs.state import State, read_run
from src.utils.files import read_json
from tests.faults.disturbed_run import LIMIT, Kind, Program, Trial, parent
from tests.support.cluster import free_ports, one_machine
from tests.support.runs import saved_step


class Cluster:
    """A SLURM with two nodes, on each of which one trial at a time takes place."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.port = f"--port={free_ports()}"
        self.nodes = {"n1": threading.Lock(), "n2": threading.Lock()}
        self.up()

    def up(self) -> None:
        """Start what does not run."""
        started = one_machine("up", self.directory, self.port)
        if started.returncode:
            raise RuntimeError(started.stderr)

    def __call__(self, *command: str) -> str:
        """Return what a client of SLURM prints; nothing where slurmctld does not answer."""
        return client(self.directory, *command).strip()


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """Yield a private SLURM, ended afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # short, for the names of sockets
    try:
        yield Cluster(directory)
    finally:
        one_machine("down", directory)
        stop(directory)
        shutil.rmtree(directory, ignore_errors=True)


class SlurmTrial(Trial):
    """One fault in one job."""

    def use_node(self, cluster: Cluster, node: str) -> None:
        """Take place on this node, and leave no job on it."""
        self.cluster, self.node = cluster, node
        self.cleanup.callback(self._cancel)

    def command(self) -> list[str]:
        node = f"+hydra.launcher.additional_parameters.nodelist={self.node}"
        tasks = [f"processes={self.setting.processes}", f"hydra.launcher.tasks_per_node={self.setting.processes}"]
        return ["-m", "src.run", "-m", *self.overrides, "slurm=one_machine", node, *tasks]

    def start(self) -> Program:
        return Program(self.command(), self.folder, environment(self.cluster.directory), forked=self.forked)

    def submit(self) -> None:
        program = self.start()
        if program.wait():
            raise RuntimeError(f"not submitted:\n{program.output}")

    @property
    def job(self) -> str:
        """Return the job that was submitted last."""
        return read_json(self.directory / "submitted.json")["job"]

    def queued(self) -> bool:
        """Whether the job waits or runs, or slurmctld is down."""
        queue = self.cluster("squeue", "--noheader", "--array", "--format=%i %t")
        return not pid_of(self.cluster.directory, "slurmctld") or self.job in queue.split()

    def wait_for_a_moment_of_the_job(self) -> None:
        """Wait until it has saved a checkpoint of a random epoch, or has just begun, and then a little."""
        epoch = self.random.randrange(-1, self.setting.epochs)
        conditions = {
            -1: lambda: self.cluster("squeue", "--noheader", f"--jobs={self.job}", "--format=%t") == "R",
            0: lambda: self.state() == State.RUNNING,
        }
        saved = lambda: saved_step(self.directory) >= epoch * self.setting.steps // self.setting.epochs  # noqa: E731
        self.expect(wait_for(conditions.get(epoch, saved), LIMIT), f"epoch {epoch} did not come")
        time.sleep(self.random.uniform(0, 2))
        step = saved_step(self.directory)
        self.moment = f"step {step} or after" if step else f"start, {self.state()}"

    def repeat(self) -> None:
        """Give the command again, and wait until its job is over."""
        self.submit()
        self.follow()

    def follow(self) -> None:
        """Wait until the run has finished, or no job is to work on it any more."""

        def over() -> bool:
            return self.state() == State.FINISHED or (not self.queued() and self.state() != State.RUNNING)

        self.expect(wait_for(lambda: over() and (time.sleep(1) or over()), LIMIT), "its job did not end")
        log = self.directory / "run.log"
        starts = len(re.findall("--- SLURM job", log.read_text())) if log.exists() else 0
        self.notes.append(f"begun {starts} times, {self.state()}")

    def _cancel(self) -> None:
        with contextlib.suppress(TypeError):  # not submitted
            self.cluster("scancel", self.job)
        wait_for(lambda: not self.cluster("squeue", "--noheader", f"--nodelist={self.node}"), 30)


def strike_job(by: Callable[[SlurmTrial], None]) -> Callable[[SlurmTrial], None]:
    """Return a strike that submits the run, does that to its job at some moment, and waits."""

    def strike(trial: SlurmTrial) -> None:
        trial.submit()
        trial.wait_for_a_moment_of_the_job()
        by(trial)
        trial.follow()

    return strike


def signal_job(trial: SlurmTrial) -> None:
    trial.cluster("scancel", "--signal=USR2", trial.job)


def requeue(trial: SlurmTrial) -> None:
    trial.cluster("scontrol", "requeue", trial.job)


def preempt(trial: SlurmTrial) -> None:
    high = ("--partition=high", "--exclusive", f"--nodelist={trial.node}", "--output=/dev/null", "--wrap=sleep 2")
    trial.cluster("sbatch", *high)


def lose_node(trial: SlurmTrial) -> None:
    trial.cluster("scontrol", "update", f"NodeName={trial.node}", "State=DOWN", "Reason=test")
    time.sleep(trial.random.uniform(1, 8))
    trial.cluster("scontrol", "update", f"NodeName={trial.node}", "State=RESUME")


def kill_controller(trial: SlurmTrial) -> None:
    os.kill(pid_of(trial.cluster.directory, "slurmctld"), signal.SIGKILL)
    time.sleep(trial.random.uniform(0, 8))
    trial.cluster.up()


def kill_python(trial: SlurmTrial) -> None:
    _kill(_worker(trial))


def kill_slurmstepd(trial: SlurmTrial) -> None:
    _kill(parent(_worker(trial)))


def kill_second_task(trial: SlurmTrial) -> None:
    for pid in trial.pids(lambda variables: {"SLURM_PROCID=1", "SLURM_STEP_ID=0"} <= variables):
        _kill(pid)


def _worker(trial: SlurmTrial) -> int:
    """Return the process that holds the run's lock, or will as soon as it is up."""
    wait_for(lambda: read_lock(trial.directory), LIMIT)
    return read_lock(trial.directory)["pid"]


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def time_limit(trial: SlurmTrial) -> None:
    trial.submit()
    trial.moment = "when SLURM sends it"
    trial.follow()


def submit_while_it_runs(trial: SlurmTrial) -> None:
    """Give the command twice more while the job runs."""
    for _ in range(2):
        program = trial.start()
        trial.expect(program.wait() == 0, "exit code not 0")
        left_alone = "being worked on" in program.output or "queued already" in program.output
        trial.expect(left_alone or trial.state() == State.FINISHED, f"not left alone: {program.output[-300:]}")


def cancel_queued(trial: SlurmTrial) -> None:
    """Cancel the job before it starts, as the user or an administrator may."""
    held = trial.overrides
    trial.overrides = [*held, "+hydra.launcher.additional_parameters.hold=true"]
    trial.submit()
    trial.overrides, trial.moment = held, "queued"
    trial.cluster("scancel", trial.job)
    trial.expect(wait_for(lambda: not trial.queued(), LIMIT), "its job did not end")
    found = read_run(trial.directory, {})
    trial.notes.append(str(found.state))
    trial.expect(found.state == State.GONE, f"the state was {found.state}")


def kill_submission(trial: SlurmTrial) -> None:
    """Kill the command about when SLURM has taken the job and the run's folder does not yet say so."""
    program = trial.start()
    trial.moment = "as it submits"
    deadline = time.monotonic() + LIMIT
    while not any(trial.outputs.glob(".slurm/submitting-*")) and not program.ended() and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(trial.random.uniform(0, 0.1))
    program.send(signal.SIGKILL)
    program.wait()
    has_note = (trial.directory / "submitted.json").exists()
    trial.submit()
    trial.repeats += 1
    trial.notes.append(f"killed {'after' if has_note else 'before'} the note")
    listed = trial.cluster("squeue", "--noheader", "--array", f"--nodelist={trial.node}", "--format=%i").split()
    waiting = trial.cluster("squeue", "--noheader", "--array", "--states=PD", "--format=%i %Z").splitlines()
    jobs = {*listed, *(line.split()[0] for line in waiting if str(trial.outputs) in line)}
    trial.expect(len(jobs) <= 1, f"queued as {jobs}")
    trial.follow()


SHORT = ("hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=45")
SLURM = [
    Kind("scancel --signal=USR2", strike_job(signal_job), 2, "SLURM"),
    Kind("time limit", time_limit, 1, "SLURM", epochs=10, options=SHORT),
    Kind("preemption", strike_job(preempt), 2, "SLURM"),
    Kind("scontrol requeue", strike_job(requeue), 2, "SLURM"),
    Kind("node down and resumed", strike_job(lose_node), 2, "SLURM"),
    Kind("SIGKILL of slurmctld", strike_job(kill_controller), 2, "SLURM"),
    Kind("SIGKILL of the job's python", strike_job(kill_python), 2, "SLURM"),
    Kind("SIGKILL of slurmstepd", strike_job(kill_slurmstepd), 1, "SLURM"),
    Kind("scancel of the queued job", cancel_queued, 1, "SLURM"),
    Kind("SIGKILL of the submitting command", kill_submission, 2, "SLURM"),
    Kind("asked for twice more", strike_job(submit_while_it_runs), 1, "SLURM"),
    Kind("scancel --signal=USR2, 2 tasks", strike_job(signal_job), 1, "SLURM", 2, 3),
    Kind("SIGKILL of the second of 2 tasks", strike_job(kill_second_task), 1, "SLURM", 2, 3),
]
WHOLE_CLUSTER = {"SIGKILL of slurmctld"}
