"""Timing code that runs on a device."""

import time

import torch


class Stopwatch:
    """A context that measures its duration in :attr:`seconds`, including that of kernels on a GPU."""

    def __init__(self, device: torch.device):
        self._is_gpu = device.type == "cuda"

    def __enter__(self) -> "Stopwatch":
        self._wait()
        self.start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._wait()
        self.seconds = time.perf_counter() - self.start

    def _wait(self) -> None:
        if self._is_gpu:
            torch.cuda.synchronize()
