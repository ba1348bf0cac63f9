"""Arrays as large as a cluster takes them, and its refusals in one line.

The SLURM on one machine refuses nothing but impossible demands. What clusters refuse is said here by programs in PATH
with the names of SLURM's.
"""

import os
import time

import pytest
import submitit

from src.launch.slurm_arrays import (
    Refused,
    environment_of_jobs,
    largest_array,
    one_line_refusals,
    remove_leftovers,
    submit_in_arrays,
)
from src.utils.errors import UserError


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A function of a name and a shell script that puts it into PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    def add(name, script):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)

    return add


@pytest.mark.parametrize(
    ("configuration", "tasks"),
    [
        ("MaxArraySize            = 1001", 1000),
        ("MaxArraySize            = 101", 100),
        ("MaxArraySize = 4000001\nSchedulerParameters     = bf_continue,max_array_tasks=500,nohold", 500),
        ("MaxArraySize            = 0", 1),
    ],
)
def test_the_largest_array_is_the_clusters(programs, configuration, tasks):
    programs("scontrol", f"cat <<'END'\nArraysAre = 7\n{configuration}\nEND")
    assert largest_array() == tasks


def test_a_cluster_that_keeps_its_limits_to_itself_has_the_usual_ones(programs):
    programs("scontrol", "exit 1")
    assert largest_array() == 1000


def cluster_with_room(room, largest, reason="QOSMaxSubmitJobPerUserLimit"):
    """A function that takes jobs as a cluster does, and the list of those that it has taken."""
    taken = []

    def submit(part):
        if len(part) > largest:
            raise Refused("Invalid job array specification")
        if len(taken) + len(part) > room:
            raise Refused(reason)
        taken.extend(part)

    return submit, taken


def test_arrays_are_cut_to_what_is_taken(programs):
    programs("scontrol", "echo MaxArraySize = 1001")
    submit, taken = cluster_with_room(10**6, 100)
    submit_in_arrays(list(range(1150)), submit)
    assert taken == list(range(1150))


def test_at_a_submit_limit_as_many_as_there_is_room_for_are_submitted(programs):
    programs("scontrol", "echo MaxArraySize = 21")
    submit, taken = cluster_with_room(37, 20)
    with pytest.raises(UserError, match="37 runs of 60 submitted, then SLURM refuses .*The same command submits"):
        submit_in_arrays(list(range(60)), submit)
    assert taken == list(range(37))


def test_what_is_wrong_with_every_job_is_tried_once(programs):
    programs("scontrol", "echo MaxArraySize = 1001")
    tries = []

    def submit(part):
        tries.append(len(part))
        raise Refused("Requested time limit is invalid (missing or exceeds some limit)")

    with pytest.raises(UserError, match="hydra.launcher.timeout_min"):
        submit_in_arrays(list(range(60)), submit)
    assert tries == [60]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("sbatch: error: invalid partition specified: gqu", "hydra.launcher.partition; `sinfo -s` lists them"),
        (
            "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
            "refuses this job: Invalid account or account/partition combination specified; see hydra.launcher.account",
        ),
        ("sbatch: error: Batch job submission failed: Invalid qos specification", "hydra.launcher.qos"),
        ("sbatch: error: Memory specification can not be satisfied", "hydra.launcher.mem_gb"),
        ("sbatch: error: Batch job submission failed: Invalid generic resource (gres) specification", "gpus_per_node"),
        ("sbatch: error: Invalid GRES specification (with and without type identification)", "gres=gpu:a100:1"),
        (
            "sbatch: unrecognized option '--x=1'\nTry \"sbatch --help\" for more information",
            "see hydra.launcher.additional_parameters",
        ),
        ("sbatch: error: Something new on this site", "SLURM refuses this job: Something new on this site"),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller", "squeue --me"),
        (
            "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
            "taken the jobs",
        ),
        ("", "without a word"),
    ],
)
def test_a_refusal_is_one_line_that_names_the_key(programs, tmp_path, capfd, said, message):
    programs("srun", "exit 1")
    programs("sbatch", f"cat >&2 <<'END'\n{said}\nEND\nexit 1")
    executor = submitit.SlurmExecutor(tmp_path / "jobs")
    with pytest.raises(UserError) as refusal, one_line_refusals():
        executor.submit_array([print, print])
    assert message in str(refusal.value) and "\n" not in str(refusal.value)
    assert capfd.readouterr() == ("", "")


# As SLURM says of every limit of an account or a quality of service.
VIOLATION = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


@pytest.mark.parametrize(
    ("limit", "key"),
    [
        ("QOSMaxWallDurationPerJobLimit", "timeout_min"),
        ("AssocMaxWallDurationPerJobLimit", "timeout_min"),
        ("QOSMaxGRESPerJob", "gpus_per_node"),
        ("QOSMaxMemoryPerJob", "mem_gb"),
        ("QOSMaxCpuPerJobLimit", "cpus_per_task"),
    ],
)
def test_a_limit_that_every_job_exceeds_is_no_limit_on_their_number(programs, limit, key):
    programs("scontrol", "echo MaxArraySize = 1001")
    submit, _ = cluster_with_room(0, 1000, f"{limit}; {VIOLATION}")
    with pytest.raises(UserError, match=f"refuses this job: {limit}; .*; see hydra.launcher.{key}") as refusal:
        submit_in_arrays(list(range(60)), submit)
    assert "room in the queue" not in str(refusal.value)


@pytest.mark.parametrize("reason", ["QOSMaxSubmitJobPerUserLimit", "AssocGrpSubmitJobsLimit", None])
def test_a_limit_on_the_number_of_jobs_is_known_with_and_without_its_name(programs, reason):
    programs("scontrol", "echo MaxArraySize = 1001")
    submit, taken = cluster_with_room(7, 1000, f"{reason}; {VIOLATION}" if reason else VIOLATION)
    with pytest.raises(UserError, match="once there is room in the queue"):
        submit_in_arrays(list(range(60)), submit)
    assert taken == list(range(7))


def test_variables_that_contradict_the_preset_do_not_reach_the_jobs(programs, tmp_path, monkeypatch, capfd):
    given = {
        "SBATCH_PARTITION": "cpu",
        "SBATCH_GPUS": "1",
        "SBATCH_ACCOUNT": "me",
        "SBATCH_WAIT": "1",
        "SLURM_JOB_ID": "7",
        "SLURM_CONF": "x",
        "WORLD_SIZE": "2",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    programs("srun", "exit 1")
    programs("sbatch", f"env > {tmp_path}/seen; echo Submitted batch job 12")
    with environment_of_jobs({"partition": "gpu", "timeout_min": 60, "gpus_per_node": 2}):
        submitit.SlurmExecutor(tmp_path / "jobs").submit_array([print, print])
    seen = (tmp_path / "seen").read_text().splitlines()
    assert {name for name in given if f"{name}={given[name]}" in seen} == {"SBATCH_ACCOUNT", "SLURM_CONF"}
    assert all(os.environ[name] == value for name, value in given.items())
    said = capfd.readouterr().err.splitlines()
    assert said == [f"SBATCH_{name} is left out: the preset decides" for name in ("PARTITION=cpu", "GPUS=1")]


def test_what_slurm_has_not_taken_is_removed_a_day_later(tmp_path):
    (tmp_path / "12_0").mkdir()
    kept = {"new.pkl": 1, "12_0/12_0_submitted.pkl": 25, ".submission_file_new.sh": 1, "12_0/12_0_submission.sh": 25}
    for name, hours in (kept | {"old.pkl": 25, ".submission_file_old.sh": 25}).items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - 3600 * hours,) * 2)
    (tmp_path / ".submission_file_accepted.sh").symlink_to(tmp_path / "12_0/12_0_submission.sh")
    remove_leftovers(tmp_path)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}
    assert files == {*kept, ".submission_file_accepted.sh"}
