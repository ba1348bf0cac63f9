"""What the launcher submits, on a real SLURM."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch

from analysis.reading.local import read_local
from slurm.one_machine.daemons import wait_for
from src.runs.state import State, state
from tests.conftest import ROOT, call
from tests.slurm.conftest import client
from tests.training.test_distributed import ONE_STEP, train, weights

ON_SLURM = ["slurm=one_machine", "workers=0"]


def finished(directory):
    return state(directory) == State.FINISHED


def runs_of(outputs):
    return [path for path in outputs.iterdir() if not path.name.startswith(".")]


def job_names(job):
    """The name of each task of an array, as accounting has it."""
    form = ("--format=JobID,JobName%200", "--noheader", "--parsable2", "--allocations", f"--jobs={job}")
    return dict(line.split("|") for line in client("sacct", *form).splitlines())


@pytest.fixture(scope="module")
def sentence(cluster, tiny_data, tmp_path_factory):
    """The outputs of the user's sentence, and what the command said."""
    from tests.conftest import TINY

    outputs = tmp_path_factory.mktemp("sentence")
    tiny = [*TINY, f"dataset.root={tiny_data}", f"outputs={outputs}", "schedule.epochs=1", "batch_size=8"]
    words = ["-m", "loss=ap,focal,auc", "delta=0.25,0.5,1,2,4", *tiny, *ON_SLURM]
    code, said = call(*words)
    assert code == 0, said
    return outputs, words, said


def test_the_users_sentence_computes_eleven_runs_each_once_in_one_array(sentence):
    outputs, words, said = sentence
    assert "15 combinations are 11 different runs" in said
    job = re.search(r"11 submitted as job (\d+)", said)[1]
    code, again = call(*words)  # while they wait or run
    assert code == 0 and "submitted" not in again, again
    assert wait_for(lambda: len(runs_of(outputs)) == 11 and all(map(finished, runs_of(outputs))), 400)

    assert wait_for(lambda: set(client("sacct", "-nXPo", "State", f"--jobs={job}").split()) == {"COMPLETED"}, 30)
    names = job_names(job)
    assert set(names) == {f"{job}_{task}" for task in range(11)}
    assert {name.split()[0] for name in names.values()} == {path.name for path in runs_of(outputs)}
    assert any("loss=ap delta=0.25" in name for name in names.values())
    runs = read_local(outputs).all
    assert len(runs) == 11 and all(run.finished for run in runs)
    assert len(list(outputs.glob("*/wandb/*run-*"))) == 11  # none was begun twice
    for path in runs_of(outputs):
        assert "AP " in (path / "run.log").read_text() and "Traceback" not in (path / "run.log").read_text()

    command = [sys.executable, "-m", "analysis", "table1", "--outputs", outputs, "--report", f"{outputs}-report"]
    table = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "missing" not in table.split("### δ\n")[1].split("### ")[0]
    code, again = call(*words)
    assert code == 0 and "11 finished" in again and "submitted" not in again


def test_what_was_submitted_is_what_runs(cluster, tiny, tmp_path):
    project = tmp_path / "project"
    for name in ("src", "conf", "sweeps", "slurm"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "src.run", "-m", *tiny, *ON_SLURM, "loss=ap,focal", "schedule.epochs=1"]
    held = "+hydra.launcher.additional_parameters={hold: true}"
    environment = os.environ | {"PYTHONPATH": ""}
    done = subprocess.run([*command, held], cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    job = re.search(r"2 submitted as job (\d+)", done.stdout)[1]
    for file in (*project.rglob("*.py"), *project.rglob("*.yaml")):
        file.write_text("edited and broken [")
    client("scontrol", "release", job)
    folders = runs_of(tmp_path / "outputs")
    assert len(folders) == 2 and wait_for(lambda: all(map(finished, folders)), 200)
    code = json.loads((folders[0] / "submitted.json").read_text())["code"]
    assert "broken" not in (tmp_path / "outputs" / code / "src/run.py").read_text()


def test_a_job_that_must_go_saves_comes_back_and_ends_as_if_nothing_had_happened(cluster, tiny, tmp_path):
    overrides = [*tiny, "batch_size=1", "schedule.epochs=4", "schedule.evaluate_every=4", "workers=0"]
    code, said = call("-m", *overrides, *ON_SLURM)
    assert code == 0, said
    job = re.search(r"1 submitted as job (\d+)", said)[1]
    (directory,) = runs_of(tmp_path / "outputs")
    assert wait_for((directory / "checkpoint.pt").exists, 200)
    client("scancel", "--signal=USR2", job)
    assert wait_for(lambda: "restarted 1 times" in (directory / "run.log").read_text(), 100)
    assert wait_for(lambda: finished(directory), 200)
    assert "stopped by SIGUSR2" in (directory / "run.log").read_text()

    undisturbed = tmp_path / "undisturbed"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "src.run", *overrides, f"outputs={undisturbed}"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    expected, found = weights(undisturbed / directory.name), weights(directory)
    assert all(torch.equal(expected[key], value) for key, value in found.items())
    (logged,) = read_local(tmp_path / "outputs").all
    assert logged.finished and logged.history["global_step"].tolist() == list(range(1, 53))


def test_a_failed_run_fails_its_job_and_is_retried_only_when_asked(cluster, tiny, tmp_path):
    overrides = ["-m", *tiny, *ON_SLURM, "schedule.learning_rate=1e18", "schedule.warmup_iterations=0"]
    code, said = call(*overrides)
    job = re.search(r"1 submitted as job (\d+)", said)[1]
    (directory,) = runs_of(tmp_path / "outputs")
    assert wait_for(lambda: state(directory) == State.FAILED, 200)
    assert wait_for(lambda: client("sacct", "-nXPo", "State", f"--jobs={job}") == "FAILED", 30)
    code, said = call(*overrides)
    assert "1 failed before; to try them again add retry=true" in said and "submitted" not in said
    status = subprocess.run(
        [sys.executable, "-m", "src.status", f"--outputs={tmp_path / 'outputs'}"],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=True,
    ).stdout
    assert f"{directory.name}  step 1: the loss is" in status.replace("step 2", "step 1")
    assert "retry=true" in status


def test_two_tasks_make_the_step_that_one_process_makes(cluster, tiny, tmp_path):
    runs = [[*tiny, *ONE_STEP, "workers=0", loss] for loss in ("loss=ap", "loss=focal")]
    alone, together = tmp_path / "alone", tmp_path / "together"
    train(1, [[*overrides, f"outputs={alone}"] for overrides in runs])
    arguments = json.dumps([[*overrides, f"outputs={together}"] for overrides in runs])
    command = [
        "srun",
        "--ntasks=2",
        "--partition=debug",
        sys.executable,
        "-m",
        "tests.training.train_together",
        arguments,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for directory in alone.iterdir():
        first, second = weights(directory), weights(together / directory.name)
        for key, value in first.items():
            if value.is_floating_point():
                assert (value - second[key]).abs().max() <= 1e-6 * value.abs().max(), key


def test_a_preset_with_several_processes_trains_one_run_with_them(cluster, tiny, tmp_path):
    tasks = "hydra.launcher.tasks_per_node=${processes}"
    code, said = call("-m", *tiny, *ON_SLURM, "processes=2", tasks, "schedule.epochs=1")
    assert code == 0, said
    (directory,) = runs_of(tmp_path / "outputs")
    assert wait_for(lambda: finished(directory), 200), (directory / "run.log").read_text()
    (logged,) = read_local(tmp_path / "outputs").all
    assert logged.config["processes"] == 2 and len(list(directory.glob("wandb/*run-*"))) == 1
    assert "Traceback" not in (directory / "run.1.log").read_text()
    code, said = call("-m", *tiny, *ON_SLURM, "processes=2", "seed=5")
    assert code == 1 and "tasks_per_node: ${processes}" in said and "Traceback" not in said


def test_without_slurm_one_is_told(tiny, tmp_path):
    environment = {"PATH": str(tmp_path), "HOME": os.environ["HOME"]}
    command = [sys.executable, "-m", "src.run", "-m", *tiny, *ON_SLURM]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "error: there is no squeue here" in done.stderr
    assert "Traceback" not in done.stderr
