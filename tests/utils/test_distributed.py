import json

import pytest
import torch
import torch.distributed as dist

from src.utils import distributed, paths
from src.utils.distributed import World, connect
from src.utils.errors import UserError
from tests.support.programs import own_environment, run_python, start_python


def work_on_main(rank: int, store: str) -> None:
    """Be one of two processes, and print what comes of work that takes longer than the others wait for a sign."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    distributed.SIGN_OF_LIFE_S = 0.0
    world, calls = World(rank, 2), []

    def work(show_life):
        for _ in range(3):
            show_life()
        calls.append(1)
        return {"data": 7}

    def fail(show_life):
        show_life()
        raise UserError("a file is broken")

    answer = world.on_main(work)
    try:
        world.on_main(fail)
    except UserError as error:
        print(json.dumps([answer, len(calls), str(error)]))
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.multiprocess
def test_the_others_wait_for_the_main_process_and_get_its_value_or_error(tmp_path):
    call = f"from tests.utils.test_distributed import work_on_main as work; work({{}}, {str(tmp_path / 'store')!r})"
    processes = [start_python(["-c", call.format(rank)], environment=own_environment()) for rank in range(2)]
    for rank, process in enumerate(processes):
        output, errors = process.communicate(timeout=100)
        assert json.loads(output) == [{"data": 7}, 1 - rank, "a file is broken"], errors


def connect_and_add() -> None:
    """Be one of the processes that torchrun has started, and end right after a sum over them."""
    world = connect(2)
    for _ in range(20):
        world.all_reduce_sum(torch.ones(10))


@pytest.mark.slow
@pytest.mark.multiprocess
def test_processes_that_end_right_after_a_collective_are_not_aborted(tmp_path):
    code = tmp_path / "add.py"
    code.write_text("from tests.utils.test_distributed import connect_and_add as add; add()")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = run_python([*torchrun, code], environment=own_environment() | {"PYTHONPATH": paths.ROOT}, fresh=True)
    assert done.returncode == 0, done.stderr


def test_a_process_alone_just_works():
    assert World().on_main(lambda show_life: show_life() or 3) == 3
