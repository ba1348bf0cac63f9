"""Faults of a run's folder: what is lost, damaged, full or out of reach in it."""

import os
import shutil
import subprocess
import time

from src.config.identity import run_id
from src.runs.state import State
from src.runs.wandb_log import read_log, write_log
from tests.faults.disturbed_run import Kind, Trial
from tests.faults.local import expect_failure, kill_midway
from tests.support.configurations import make_config

HOUR = 3600  # seconds


def finish_first(trial: Trial) -> None:
    program = trial.start()
    trial.moment = "after its end"
    trial.note_end(program)
    trial.expect(trial.state() == State.FINISHED, f"was {trial.state()} before the fault")


def empty_summary(trial: Trial) -> None:
    """Leave no byte of the summary, as a file server may that went down."""
    finish_first(trial)
    os.truncate(trial.directory / "summary.json", 0)
    trial.notes.append(f"state {trial.state()}")
    trial.expect(trial.state() == State.DAMAGED, f"the state was {trial.state()}")


def lose_log(trial: Trial) -> None:
    """Delete the W&B folder of a finished run."""
    finish_first(trial)
    shutil.rmtree(trial.directory / "wandb")
    trial.notes.append(f"state {trial.state()}")
    trial.expect(trial.state() == State.UNLOGGED, f"the state was {trial.state()}")


def fill_log_folder(trial: Trial) -> None:
    """Fill only the disk of the W&B folder, from which nothing is read during a run; it is lost afterwards."""
    folder = trial.outputs / run_id(make_config(*trial.overrides)) / "wandb"
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=True)
    trial.cleanup.callback(subprocess.run, ["umount", "--lazy", folder], stderr=subprocess.DEVNULL)
    overrides, trial.overrides = trial.overrides, [*trial.overrides, "images_logged=0"]
    program = trial.start()
    trial.overrides = overrides
    trial.wait_for_a_moment(program, 1, trial.setting.steps - 10)
    with (folder / "filler").open("wb", 0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            pass
    expect_failure(trial, program, "has not written the whole log", (State.FAILED,))
    subprocess.run(["umount", "--lazy", folder], check=True)


def set_clock_back(trial: Trial) -> None:
    """Go on by a clock that is an hour behind that of the first attempt."""
    kill_midway(trial)
    (file,) = trial.directory.glob("wandb/*run-*/run-*.wandb")
    records = list(read_log(file, lambda damage: None))
    for record in records:
        if record.HasField("run"):
            record.run.start_time.seconds += HOUR
    write_log(file, records)
    trial.notes.append("killed, and what it logged dated an hour later")


def put_out_of_reach(trial: Trial) -> None:
    """Take the folder away for some seconds, as a file server does that does not answer."""
    program = trial.start()
    trial.wait_for_a_moment(program, 1, trial.setting.steps // 2)
    directory, away = trial.directory, trial.folder / "away"
    directory.rename(away)
    seconds = trial.random.uniform(2, 8)
    time.sleep(seconds)
    away.rename(directory)
    trial.note_end(program)
    trial.notes.append(f"out of reach for {seconds:.0f} s")


FOLDERS = [
    Kind("empty summary.json", empty_summary),
    Kind("lost W&B folder", lose_log),
    Kind("disk of the W&B folder full", fill_log_folder, 2),
    Kind("clock set back", set_clock_back, 2),
    Kind("folder out of reach", put_out_of_reach, 2),
]
