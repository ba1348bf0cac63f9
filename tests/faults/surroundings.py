"""Faults of what surrounds a run: processes that load its images, the network, links in the names of its folders."""

import contextlib
import os
import signal
import time
from collections.abc import Callable

from slurm.one_machine.daemons import all_pids, wait_for
from src.runs.state import State
from tests.faults.disturbed_run import LIMIT, Kind, Program, Trial, parent
from tests.faults.on_slurm import SlurmTrial, kill_python, strike_job
from tests.support.programs import own_environment

NO_SERVER = "http://127.0.0.1:9"  # the port at which a machine discards what it gets, if at all
AT_MOST_S = 80.0  # with the imports, on a busy machine; W&B itself gives up after 90


def kill_loader(trial: Trial) -> None:
    """Kill a process that loads images, as the system does when memory runs out."""
    program = trial.start()
    trial.wait_for_a_moment(program, 1, trial.setting.steps - 1)

    def loaders() -> list[int]:
        return [pid for pid in all_pids() if parent(pid) == program.process.pid and _is_python(pid)]

    wait_for(lambda: bool(loaders()) or program.ended(), LIMIT)  # each epoch has its own
    for pid in loaders():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    trial.note_end(program)
    said = "lower workers" in program.output and trial.state() == State.INTERRUPTED
    trial.expect(said or trial.state() == State.FINISHED, f"{trial.state()}: {program.output[-300:]}")


def _is_python(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "python" in os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    return False


def log_online_without_network(trial: Trial) -> None:
    """Ask for W&B's server where there is none, first."""
    environment = own_environment() | {"WANDB_BASE_URL": NO_SERVER, "WANDB_API_KEY": "0" * 40}
    start = time.monotonic()
    program = Program([*trial.command(), "wandb.mode=online"], trial.folder, environment, forked=trial.forked)
    trial.moment = "start"
    trial.note_end(program)
    trial.expect("wandb.mode=offline" in program.output, f"offline is not named: {program.output[-300:]}")
    trial.expect(time.monotonic() - start < AT_MOST_S, f"took {time.monotonic() - start:.0f} s")
    trial.expect(trial.state() not in (State.FAILED, State.RUNNING), f"the state was {trial.state()}")


def behind_a_link(strike: Callable[[SlurmTrial], None]) -> Callable[[SlurmTrial], None]:
    """Return the strike on a run whose outputs are behind a symbolic link, in a folder with a space in its name."""

    def strike_behind_a_link(trial: SlurmTrial) -> None:
        trial.outputs.rename(trial.folder / "scratch of mine")
        trial.outputs.symlink_to("scratch of mine")
        strike(trial)

    return strike_behind_a_link


SURROUNDINGS = [
    Kind("SIGKILL of a loader, workers=1", kill_loader, 2, options=("workers=1",)),
    Kind("wandb.mode=online without a network", log_online_without_network),
]
SURROUNDINGS_ON_SLURM = [
    Kind("outputs behind a link, SIGKILL of the job's python", behind_a_link(strike_job(kill_python)), 1, "SLURM"),
]
