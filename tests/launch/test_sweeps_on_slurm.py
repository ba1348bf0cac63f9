"""What the launcher submits, on a real SLURM. Jobs are linear models except where a detector is the point."""

import json
import os
import re
import shutil

import pytest
import torch

from analysis.reading.local import read_local
from slurm.one_machine.daemons import wait_for
from src.launch.slurm_launcher import freeze_code
from src.runs.run_lock import this_process
from src.runs.state import State, read_runs, state
from src.status import main as status
from src.utils import paths
from tests.support.cluster import client
from tests.support.programs import call_run, run_python
from tests.support.runs import ONE_STEP, run_folders, same_weights, weights

ON_SLURM = ["slurm=one_machine"]
DETECTOR = [*ON_SLURM, "workers=0"]


def finished(directory):
    return state(directory) == State.FINISHED


def submit_linear(*words):
    """Return the output of `python -m src.linear -m`, which must succeed."""
    done = run_python(["-m", "src.linear", "-m", *words, *ON_SLURM])
    assert done.returncode == 0, done.stderr
    return done.stdout


def job_of(output, runs):
    """Return the number of the job as which so many runs were submitted."""
    return re.search(rf"\b{runs} submitted as job (\d+)", output)[1]


def job_states(job):
    return set(client("sacct", "-nXPo", "State", f"--jobs={job}").split())


def job_names(job):
    """The name of each task of an array, as accounting has it."""
    form = ("--format=JobID,JobName%200", "--noheader", "--parsable2", "--allocations", f"--jobs={job}")
    return dict(line.split("|") for line in client("sacct", *form).splitlines())


def test_a_sweep_is_one_array_in_which_each_different_run_is_made_once(cluster, tmp_path):
    # As on clusters, the outputs are behind a symbolic link.
    (tmp_path / "scratch of mine").mkdir()
    (tmp_path / "link").symlink_to("scratch of mine")
    outputs = tmp_path / "link"
    # The structured hinge does not use δ.
    methods = ["method.name=error_driven,structured_hinge", "method.step=piecewise"]
    words = [*methods, "method.delta=0.25,1", f"outputs={outputs}"]
    output = submit_linear(*words)
    assert "4 combinations are 3 different runs" in output
    job = job_of(output, 3)
    assert "submitted" not in submit_linear(*words)  # while they wait or run
    assert wait_for(lambda: len(run_folders(outputs)) == 3 and all(map(finished, run_folders(outputs))), 400)

    assert wait_for(lambda: job_states(job) == {"COMPLETED"}, 30)
    names = job_names(job)
    assert set(names) == {f"{job}_{task}" for task in range(3)}
    assert {name.split()[0] for name in names.values()} == {path.name for path in run_folders(outputs)}
    assert any("method.name=error_driven" in name and "method.delta=0.25" in name for name in names.values())
    runs = read_local(outputs).all
    assert len(runs) == 3 and all(run.finished for run in runs)
    assert len(list(outputs.glob("*/wandb/*run-*"))) == 3  # no run was started twice
    for path in run_folders(outputs):
        assert "AP-loss " in (path / "run.log").read_text() and "Traceback" not in (path / "run.log").read_text()
    output = submit_linear(*words)
    assert "3 finished" in output and "submitted" not in output


def test_a_run_has_the_variables_and_the_cores_of_its_job(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("SBATCH_EXPORT", "NONE")  # as some sites advise
    submit_linear("hydra.launcher.cpus_per_task=2", f"outputs={tmp_path}")
    (directory,) = run_folders(tmp_path)
    assert wait_for(lambda: finished(directory), 400)
    (script,) = tmp_path.glob(".slurm/*/*.sh")
    (command,) = (line for line in script.read_text().splitlines() if line.startswith("srun "))
    # The nodes do not bind processes to cores, as the task plugins of clusters do.
    assert " --cpus-per-task=2 " in command


def test_jobs_run_the_code_as_it_was_when_they_were_submitted(cluster, tmp_path):
    project, outputs = tmp_path / "project", tmp_path / "outputs"
    for name in ("src", "conf", "sweeps", "slurm"):
        shutil.copytree(paths.ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    words = ["-m", "src.linear", "-m", *ON_SLURM, "problem.seed=0,1", f"outputs={outputs}"]
    held = "+hydra.launcher.additional_parameters={hold: true}"
    done = run_python([*words, held], folder=project, environment=os.environ | {"PYTHONPATH": ""}, fresh=True)
    assert done.returncode == 0, done.stderr
    for file in (*project.rglob("*.py"), *project.rglob("*.yaml")):
        file.write_text("edited and broken [")
    client("scontrol", "release", job_of(done.stdout, 2))
    folders = run_folders(outputs)
    assert len(folders) == 2 and wait_for(lambda: all(map(finished, folders)), 200)
    code = json.loads((folders[0] / "submitted.json").read_text())["code"]
    assert "broken" not in (outputs / code / "src/linear.py").read_text()


def test_a_job_that_must_yield_saves_is_requeued_and_ends_as_if_undisturbed(cluster, tiny, tmp_path, undisturbed):
    overrides = ["batch_size=1", "schedule.epochs=3", "schedule.evaluate_every=3"]
    code, output = call_run("-m", *tiny, *overrides, *DETECTOR)
    assert code == 0, output
    job = job_of(output, 1)
    (directory,) = run_folders(tmp_path / "outputs")
    assert wait_for((directory / "checkpoint.pt").exists, 200)
    client("scancel", "--signal=USR2", job)
    twin = undisturbed(*overrides)
    assert wait_for(lambda: "restarted 1 times" in (directory / "run.log").read_text(), 100)
    assert wait_for(lambda: finished(directory), 200)
    assert "stopped by SIGUSR2" in (directory / "run.log").read_text()
    assert same_weights(twin, directory)
    (logged,) = read_local(tmp_path / "outputs").all
    assert logged.finished and logged.history["global_step"].tolist() == list(range(1, 40))


def test_a_failed_run_fails_its_job_and_is_retried_only_on_request(cluster, tmp_path, capsys):
    words = ["method.name=structured_hinge", "method.learning_rate=1e308", f"outputs={tmp_path}"]
    job = job_of(submit_linear(*words), 1)
    (directory,) = run_folders(tmp_path)
    assert wait_for(lambda: state(directory) == State.FAILED, 200)
    assert wait_for(lambda: job_states(job) == {"FAILED"}, 30)
    output = submit_linear(*words)
    assert "1 failed before; to try them again add retry=true" in output and "submitted" not in output
    status(["--program=src.linear", *words, *ON_SLURM])
    output = capsys.readouterr().out
    assert f"{directory.name}  scores are not finite after step " in output and "retry=true" in output


def update_of(directory):
    """The biases of the box offsets, which were 0 before the one step."""
    return torch.cat([value for key, value in weights(directory).items() if re.match(r"regression.*bias", key)])


@pytest.mark.multiprocess
def test_two_tasks_train_one_run_together_and_make_the_step_of_one_process(cluster, tiny, tmp_path, undisturbed):
    tasks = "hydra.launcher.tasks_per_node=${processes}"
    code, output = call_run("-m", *tiny, *ONE_STEP, *DETECTOR, "processes=2", tasks)
    assert code == 0, output
    (directory,) = run_folders(tmp_path / "outputs")
    twin = undisturbed(*ONE_STEP)
    assert wait_for(lambda: finished(directory), 200), (directory / "run.log").read_text()
    (logged,) = read_local(tmp_path / "outputs").all
    assert logged.config["processes"] == 2 and len(list(directory.glob("wandb/*run-*"))) == 1
    assert "Traceback" not in (directory / "run.1.log").read_text()
    # In float32, where normalisation enlarges rounding errors; tests/training compares in float64.
    one, two = update_of(twin), update_of(directory)
    assert (one - two).norm() < 0.1 * one.norm(), (one, two)


def test_processes_without_as_many_tasks_are_an_error(cluster, tiny):
    code, output = call_run("-m", *tiny, *DETECTOR, "processes=2", "seed=5")
    assert code == 1 and "tasks_per_node: ${processes}" in output and "Traceback" not in output


@pytest.mark.slow
def test_without_slurm_a_submission_is_an_error(tiny, tmp_path):
    environment = {"PATH": str(tmp_path), "HOME": os.environ["HOME"]}
    done = run_python(["-m", "src.run", "-m", *tiny, *ON_SLURM], environment=environment)
    assert done.returncode == 1 and "error: there is no squeue here" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_frozen_code_is_whole_again_where_old_files_are_deleted(tmp_path, monkeypatch):
    copy = freeze_code(tmp_path)
    times = {file: file.stat().st_mtime_ns for file in copy.rglob("*.py")}
    assert {file.relative_to(copy) for file in times} == {f.relative_to(paths.ROOT) for f in paths.SRC.rglob("*.py")}
    (copy / "src/run.py").unlink()
    assert freeze_code(tmp_path) == copy and (copy / "src/run.py").read_bytes() == (paths.SRC / "run.py").read_bytes()
    assert all(file.stat().st_mtime_ns == time for file, time in times.items() if file.name != "run.py")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/linked.py").touch()
    (tmp_path / "src").mkdir()
    (tmp_path / "src/losses").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(paths, "SRC", tmp_path / "src")
    assert (freeze_code(tmp_path) / "src/losses/linked.py").is_file()


HELD = "+hydra.launcher.additional_parameters={hold: true, comment: mine}"


def test_queued_jobs_are_found_replaced_and_missed(cluster, tmp_path, capsys):
    """The queue is asked by `status` and the launcher alike."""
    words = ["problem.name=local_optimum", f"outputs={tmp_path}", HELD]
    first = job_of(submit_linear(*words), 1)
    (directory,) = run_folders(tmp_path)
    note = json.loads((directory / "submitted.json").read_text())
    assert read_runs([directory])[0][directory].state == State.SUBMITTED

    # As if the command had been killed after SLURM had taken the job, and before that was noted.
    mine, token = client("squeue", "--noheader", f"--jobs={first}", "--format=%k").split()
    assert mine == "mine"
    dead = {**this_process(), "pid": 2**22 + 1}
    left = {"notes": {directory.name: {key: note[key] for key in ("program", "overrides", "time", "code")}}}
    (tmp_path / f".slurm/submitting-{token}.json").write_text(
        json.dumps(left | {"folder": str(tmp_path / ".slurm/%j"), "process": dead})
    )
    (directory / "submitted.json").unlink()
    output = submit_linear(*words)
    assert "1 found in the queue" in output and "1 queued already" in output and " submitted as job" not in output
    assert json.loads((directory / "submitted.json").read_text()) == note
    assert not list(tmp_path.glob(".slurm/submitting-*"))

    (directory / "submitted.json").write_text(json.dumps(note | {"code": str(tmp_path / ".code/0123456789")}))
    output = submit_linear(*words)
    assert "1 queued already, with different code; to replace these jobs add resubmit=true" in output
    second = job_of(submit_linear(*words, "resubmit=true"), 1)
    assert second != first and "CANCELLED" in job_states(first)
    assert "1 queued already\n" in submit_linear(*words, "resubmit=true")  # whose code is today's

    client("scancel", second)
    assert wait_for(lambda: read_runs([directory])[0][directory].state == State.GONE, 10)
    status(["--program=src.linear", *words, *ON_SLURM])
    output = capsys.readouterr().out
    assert "To launch what is gone from the queue:\n  python -m src.linear -m " in output
    assert f"its job {second} is no longer queued" in output
    third = job_of(submit_linear(*words), 1)
    client("scancel", third)


def test_attacks_start_after_the_training_that_they_need_and_are_cancelled_if_it_fails(
    cluster, tiny, tmp_path, capsys, undisturbed
):
    attacks = ["attack=gaussian_noise", "attack.standard_deviation=0.1,0.2"]
    words = [*tiny, *attacks, *DETECTOR, "wandb.mode=disabled"]
    later = "+hydra.launcher.additional_parameters={begin: 'now+1hour'}"
    code, output = call_run("-m", *words, later)
    assert code == 0 and "2 runs, and 1 run that these need" in output, output
    assert f"to start after {job_of(output, 1)}" in output
    assert "3 queued already\n" in call_run("-m", *words)[1]
    trained = tmp_path / "outputs" / undisturbed().name
    note = json.loads((trained / "submitted.json").read_text())
    (trained / "submitted.json").write_text(json.dumps(note | {"code": str(tmp_path / "outputs/.code/0123456789")}))
    code, output = call_run("-m", *words, later, "resubmit=true")
    # SLURM removes the jobs that wait for a cancelled one.
    assert code == 0 and "queued already" not in output, output
    training, waiting = job_of(output, 1), job_of(output, 2)
    assert f"to start after {training}" in output

    def is_shown():
        status(words)
        shown = capsys.readouterr().out
        return f"{trained.name}  submitted; needed by" in shown and "waiting for another run" in shown

    assert wait_for(is_shown, 60)  # SLURM notes that a job waits for another one some time after it was submitted
    client("scancel", training)
    assert wait_for(lambda: not client("squeue", "--noheader", f"--jobs={waiting}", "--states=all").count("PD"), 60)
    assert {run.state for run in read_runs(run_folders(tmp_path / "outputs"))[0].values()} == {State.GONE}

    code, output = call_run("-m", *words)
    assert code == 0, output
    training, waiting = job_of(output, 1), job_of(output, 2)
    folders = run_folders(tmp_path / "outputs")
    assert wait_for(lambda: all((folder / "summary.json").exists() for folder in folders), 300), output
    assert same_weights(undisturbed(), trained)
    assert (trained / "run.log").read_text().count("--- SLURM job") == 1
    times = client("sacct", "-nXPo", "JobID,Start,End", f"--jobs={training},{waiting}").splitlines()
    (end,) = (line.split("|")[2] for line in times if line.startswith(training))
    assert len(times) == 3 and all(line.split("|")[1] >= end for line in times if line.startswith(waiting))
