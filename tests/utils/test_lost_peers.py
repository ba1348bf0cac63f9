import os
import signal
import sys
import time

import pytest
import torch.distributed as dist

from src.utils import lost_peers
from src.utils.distributed import World
from tests.support.programs import own_environment, start_python


def work(rank: int, store: str) -> None:
    """Be one of three processes: all leave the body once; then two wait for ever, and the last is killed."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=3)
    lost_peers.GRACE_S = 0.2
    with lost_peers.ended_with_peers(World(rank, 3), lambda: 1):
        time.sleep(0.1 * rank)
    print("all have left", flush=True)
    with lost_peers.ended_with_peers(World(rank, 3), lambda: 40 + rank):
        dist.barrier()
        if rank == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(100)  # as in a collective on a GPU: no exception reaches it
    sys.exit(0)


@pytest.mark.slow
@pytest.mark.multiprocess
def test_processes_end_after_one_that_was_killed(tmp_path):
    call = f"from tests.utils.test_lost_peers import work; work({{}}, {str(tmp_path / 'store')!r})"
    processes = [start_python(["-c", call.format(rank)], environment=own_environment()) for rank in range(3)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [40, 41, -signal.SIGKILL], outputs
    for rank, (output, errors) in enumerate(outputs):
        assert output == "all have left\n" and ("another process of this run is gone" in errors) == (rank < 2)
