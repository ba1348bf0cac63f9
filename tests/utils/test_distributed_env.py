import pytest

from src.utils.distributed import connect
from src.utils.distributed_env import VARIABLES, number_of_processes, source_of_processes
from src.utils.errors import UserError


@pytest.mark.parametrize(
    ("variables", "number", "source"),
    [
        ({}, 1, ""),
        ({"WORLD_SIZE": "1"}, 1, ""),
        ({"WORLD_SIZE": "2", "SLURM_STEP_NUM_TASKS": "3"}, 2, "WORLD_SIZE=2"),
        ({"WORLD_SIZE": "", "SLURM_STEP_NUM_TASKS": "3"}, 3, "SLURM_STEP_NUM_TASKS=3"),
    ],
)
def test_the_number_of_processes_and_where_it_is_from(variables, number, source, monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert number_of_processes() == number and source_of_processes(number) == source
    assert source_of_processes(number + 1) == ""


@pytest.mark.parametrize("text", ["two", "0", "-1", "1.5"])
def test_what_is_no_number_is_refused_by_name(text, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", text)
    with pytest.raises(UserError, match=f"WORLD_SIZE={text} is no number of processes; unset it"):
        number_of_processes()


def test_a_number_of_processes_without_their_addresses_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="has WORLD_SIZE=2, but not RANK, LOCAL_RANK, .*unset WORLD_SIZE"):
        connect(2)
