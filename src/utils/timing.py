"""Timing what runs on a device."""

import time

import torch


class Stopwatch:
    """Seconds spent in a block; on a GPU the block's kernels are waited for."""

    def __init__(self, device: torch.device):
        self.wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    def __enter__(self) -> "Stopwatch":
        self.wait()
        self.start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()
        self.seconds = time.perf_counter() - self.start
