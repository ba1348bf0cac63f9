import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from slurm.one_machine import daemons
from slurm.one_machine.cluster import check_programs
from slurm.one_machine.daemons import NAMES, pid_of, processes, wait_for
from src.utils.errors import UserError
from tests.support.cluster import client, free_ports, one_machine


def submit(script: str, output: Path, *options: str, **arguments) -> str:
    command = ("sbatch", "--parsable", f"--output={output}", "--open-mode=append", *options, f"--wrap={script}")
    return client(*command, **arguments)


def until(path: Path) -> str:
    return f"while [ ! -e {path} ]; do sleep 0.2; done"


def accounting(job: str, field: str = "State") -> list[str]:
    """Return what accounting has of each task of a job, and of each start of a requeued one."""
    options = ("--allocations", "--duplicates", "--noheader", "--parsable2")
    return client("sacct", *options, f"--jobs={job}", f"--format={field}").split()


def ends(job: str) -> bool:
    """Whether it completes. Accounting is late by a second or so."""
    return wait_for(lambda: set(accounting(job)[-1:]) == {"COMPLETED"}, 30)


def shows(output: Path, text: str) -> bool:
    return wait_for(lambda: output.exists() and text in output.read_text(), 30)


def is_saved(directory: Path, job: str, **arguments) -> bool:
    """Wait until slurmctld has saved the job, which it does every few seconds; what it has not saved dies with it."""
    client("scontrol", "update", f"JobId={job}", "Comment=a-comment", **arguments)
    file = directory / "state/job_state"  # not there before slurmctld saves for the first time
    return wait_for(lambda: file.exists() and b"a-comment" in file.read_bytes(), 30)


def kill(pids: list[int], directory: Path) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: not set(pids) & set(processes(directory)), 10)


@pytest.fixture(scope="module", autouse=True)
def come_back(cluster, tmp_path_factory):
    """Jobs that come back, and their outputs: SLURM lets them wait for ten seconds, in which other tests run."""
    outputs = tmp_path_factory.mktemp("come_back")
    job = 'echo "run $SLURM_RESTART_COUNT"; if [ "$SLURM_RESTART_COUNT" ]; then exit; fi'
    requeued = submit(f"{job}; scontrol requeue $SLURM_JOB_ID; sleep 60", outputs / "requeued", "--nodelist=n2")
    client("scontrol", "update", "PartitionName=debug", "GraceTime=1")
    deaf = submit(f"{job}; sleep 60", outputs / "deaf", "--nodelist=n1")
    warning = "trap 'echo warned; scontrol requeue $SLURM_JOB_ID' USR2"
    heeding = submit(f"{warning}; {job}; sleep 60 & wait", outputs / "heeding", "--nodelist=n1", "--signal=B:USR2@60")
    assert shows(outputs / "deaf", "run") and shows(outputs / "heeding", "run")
    submit("echo high", outputs / "high", "--nodelist=n1", "--exclusive", "--partition=high")
    yield {"requeued": requeued, "deaf": deaf, "heeding": heeding, "outputs": outputs}
    client("scontrol", "update", "PartitionName=debug", "GraceTime=20")


def test_output_and_accounting_of_a_job(tmp_path):
    job = submit("echo here", tmp_path / "output")
    assert ends(job) and (tmp_path / "output").read_text() == "here\n"


def test_gpus_are_allocated():
    gpus = "printenv CUDA_VISIBLE_DEVICES"
    assert client("srun", "--gres=gpu:2", *gpus.split()) == "0,1"
    assert sorted(client("srun", "--nodes=1", "--ntasks=2", "--gpus-per-task=1", *gpus.split()).split()) == ["0", "1"]
    alone = ["srun", "--nodelist=n2", "--gpus=1", "sh", "-c", f"{gpus}; sleep 1"]
    jobs = [subprocess.Popen(alone, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(job.communicate(timeout=30)[0] for job in jobs) == ["0\n", "1\n"]


def test_two_tasks_of_a_job_have_their_ranks():
    assert sorted(client("srun", "--ntasks=2", "printenv", "SLURM_PROCID").split()) == ["0", "1"]


def test_down_keeps_jobs_on_request_and_leaves_no_process(short_directory, tmp_path):
    directory, port = short_directory(), f"--port={free_ports()}"
    assert one_machine("up", directory, port).returncode == 0
    ours = {"env": os.environ | {"SLURM_CONF": f"{directory}/etc/slurm.conf"}}
    kept = submit("echo begun; sleep 600", tmp_path / "kept", "--exclusive", **ours)
    assert shows(tmp_path / "kept", "begun") and is_saved(directory, kept, **ours)
    assert one_machine("down", directory, "--keep").returncode == 0 and not processes(directory)
    assert one_machine("up", directory, port).returncode == 0
    assert "Restarts=1" in client("scontrol", "show", "job", kept, **ours)

    submit("trap '' TERM; echo begun; sleep 600; sleep 600", tmp_path / "stubborn", "--exclusive", "--nodes=2", **ours)
    waiting = subprocess.Popen(["srun", "--exclusive", "true"], stderr=subprocess.DEVNULL, **ours)
    assert shows(tmp_path / "stubborn", "begun")
    ended = one_machine("down", directory)
    assert ended.returncode == 0 and not processes(directory) and not directory.exists(), ended.stderr
    assert waiting.wait(10) != 0
    assert "there is none" in one_machine("down", directory).stderr


def test_a_taken_port_is_named(short_directory):
    directory, port = short_directory(), free_ports()
    with socket.create_server(("", port + 2)):
        result = one_machine("up", directory, f"--port={port}")
    assert result.returncode == 1 and not result.stdout and not processes(directory)
    assert f"port {port + 2}" in result.stderr and "--port" in result.stderr and "Traceback" not in result.stderr


def test_an_impossible_directory_is_an_error(short_directory):
    too_long = one_machine("up", Path("/tmp", "x" * 90))
    assert too_long.returncode == 1 and "--directory" in too_long.stderr
    other = short_directory()
    (other / "thesis.tex").touch()
    for command in ("up", "down"):
        refused = one_machine(command, other)
        assert refused.returncode == 1 and "something else" in refused.stderr
    assert (other / "thesis.tex").exists()


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(daemons, "search_path", lambda: "")
    with pytest.raises(UserError, match="munged.*apt-get install mariadb-server munge slurm-client slurmctld slurmd"):
        check_programs()


def test_a_requeued_job_comes_back(come_back):
    assert shows(come_back["outputs"] / "requeued", "run 1") and ends(come_back["requeued"])
    assert accounting(come_back["requeued"]) == ["REQUEUED", "COMPLETED"]


def test_preempted_jobs_come_back(come_back):
    outputs = come_back["outputs"]
    assert shows(outputs / "high", "high")
    assert shows(outputs / "heeding", "run 1") and (outputs / "heeding").read_text().startswith("run \nwarned\n")
    assert shows(outputs / "deaf", "run 1") and ends(come_back["deaf"])
    assert accounting(come_back["deaf"]) == ["PREEMPTED", "COMPLETED"]


def test_an_array_takes_both_nodes(tmp_path):
    job = submit("echo $SLURMD_NODENAME; sleep 0.5", tmp_path / "%a", "--array=0-19")
    assert wait_for(lambda: accounting(job) == ["COMPLETED"] * 20, 30)
    assert {(tmp_path / str(task)).read_text() for task in range(20)} == {"n1\n", "n2\n"}


def test_tasks_of_an_array_rename_themselves(tmp_path):
    # The last task's SLURM_JOB_ID is the array's id, too, by which it would rename all tasks.
    own, stop = "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}", tmp_path / "stop"
    rename = f"scontrol update JobId={own} JobName=name$SLURM_ARRAY_TASK_ID; squeue --noheader -j {own} -o %j"
    job = submit(f"{rename}; {until(stop)}", tmp_path / "%a", "--array=0-2")
    assert all(shows(tmp_path / str(task), f"name{task}") for task in range(3))
    assert wait_for(lambda: accounting(job, "State,JobName") == [f"RUNNING|name{task}" for task in range(3)], 20)
    stop.touch()
    assert ends(job) and accounting(job, "JobName") == ["name0", "name1", "name2"]


def test_up_changes_nothing_where_all_runs(cluster):
    before = [pid_of(cluster, name) for name in NAMES]
    again = one_machine("up", cluster)
    assert again.stdout == f"export SLURM_CONF={cluster}/etc/slurm.conf\n" and "already" in again.stderr
    assert [pid_of(cluster, name) for name in NAMES] == before
    assert one_machine("status", cluster).returncode == 0


def test_up_resumes_a_drained_node(cluster):
    client("scontrol", "update", "NodeName=n2", "State=DRAIN", "Reason=test")
    assert one_machine("status", cluster).returncode == 1
    assert one_machine("up", cluster).returncode == 0
    assert one_machine("status", cluster).returncode == 0


def test_up_restarts_killed_daemons_and_jobs_continue(cluster, tmp_path):
    stop = tmp_path / "stop"
    job = submit(f"echo begun; {until(stop)}; echo done", tmp_path / "output", "--nodelist=n1")
    assert shows(tmp_path / "output", "begun") and is_saved(cluster, job)
    kill([pid_of(cluster, name) for name in NAMES if name != "n2"], cluster)
    status = one_machine("status", cluster)
    assert status.returncode == 1 and "not running" in status.stdout
    restarted = one_machine("up", cluster)
    assert restarted.returncode == 0 and restarted.stdout.startswith("export"), restarted.stderr
    stop.touch()
    assert ends(job) and (tmp_path / "output").read_text() == "begun\ndone\n"
