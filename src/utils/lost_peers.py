"""End a process whose peers are gone; with NCCL nothing else would, as collectives wait for them on the GPU."""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import torch
import torch.distributed as dist

from src.utils.distributed import World

GRACE_S = 10.0  # seconds for this process to end by itself, as after an error that all processes have
_GONE = "another process of this run is gone; run the same command again to resume"
_NO_TIMEOUT = timedelta(days=365)


@contextlib.contextmanager
def ended_with_peers(world: World, exit_code: Callable[[], int]) -> Iterator[None]:
    """End this process soon after another one has ended, for whatever reason, while both are in the body.

    The main process keeps a connection to each other one, which the system closes when either ends. A process that
    leaves the body without an error tells the others, and waits until all have left it.

    Args:
        world: all of whose processes call this together.
        exit_code: returns the exit code of a process that is ended in this way.
    """
    group = dist.new_group(backend="gloo", timeout=_NO_TIMEOUT)
    assert isinstance(group, dist.ProcessGroup)  # this process is a member
    left = threading.Event()
    peers = range(1, world.size) if world.is_main else [0]

    def listen(peer: int) -> None:
        try:
            dist.recv(torch.empty(1), src=peer, group=group)
        except RuntimeError:
            if not left.wait(GRACE_S):
                print(f"error: {_GONE}", file=sys.stderr, flush=True)
                os._exit(exit_code())  # the thread of the body may wait on the GPU, out of reach of any exception

    listeners = [threading.Thread(target=listen, args=(peer,), daemon=True) for peer in peers]
    for listener in listeners:
        listener.start()
    try:
        yield
    finally:
        left.set()
    for peer in peers:
        with contextlib.suppress(RuntimeError):  # the peer has ended
            dist.send(torch.zeros(1), dst=peer, group=group)
    for listener in listeners:
        listener.join()
    dist.destroy_process_group(group)
