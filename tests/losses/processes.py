"""Processes that compute losses together over gloo, and their answers."""

import contextlib
import multiprocessing
import pickle
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

_PATIENCE = timedelta(seconds=60)


class World:
    """Three processes that serve many calls; groups are of the first and the last of them, or of all.

    Args:
        folder: an empty one, where they find each other.
    """

    groups = {2: [0, 2], 3: [0, 1, 2]}

    def __init__(self, folder: Path):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["torch.distributed", "torchvision", "src.losses"])  # imported once for all
        self.connections, self.processes = [], []
        for rank in range(3):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, rank, folder / "store"), daemon=True)
            process.start()
            there.close()  # so that the end of the process is the end of the connection
            self.connections.append(here)
            self.processes.append(process)

    def call(self, function: Callable, arguments: list[list[tuple]]) -> list[list[Any]]:
        """Return what `function(group, *arguments)` returns, call after call, on each process of a group.

        Args:
            function: of a module that can be imported.
            arguments: for each process of the group its arguments, for each call.

        Returns:
            For each call the answers of the processes of the group.
        """
        connections = [self.connections[rank] for rank in self.groups[len(arguments)]]
        for connection, own in zip(connections, arguments, strict=True):
            connection.send_bytes(pickle.dumps((len(arguments), function, own)))
        answers = [_receive(connection) for connection in connections]
        return list(zip(*answers, strict=True))

    def stop(self) -> None:
        for connection in self.connections:
            connection.close()
        for process in self.processes:
            process.join()


def _receive(connection: Connection) -> list[Any]:
    assert connection.poll(2 * _PATIENCE.total_seconds()), "a process does not answer"
    answer = pickle.loads(connection.recv_bytes())
    assert isinstance(answer, list), answer
    return answer


def _serve(connection: Connection, rank: int, store: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=3, timeout=_PATIENCE)
    groups = {size: dist.new_group(ranks, timeout=_PATIENCE) for size, ranks in World.groups.items()}
    with contextlib.suppress(EOFError):
        while True:
            size, function, calls = pickle.loads(connection.recv_bytes())
            try:
                answer = [function(groups[size], *arguments) for arguments in calls]
            except Exception:
                answer = traceback.format_exc()
            connection.send_bytes(pickle.dumps(answer))
    dist.destroy_process_group()
