"""Timing code that runs on a device."""

import time

import torch


class Stopwatch:
    """A context that measures its duration in :attr:`seconds`: on a GPU by events, from the end of earlier kernels."""

    def __init__(self, device: torch.device):
        self._stream = torch.cuda.current_stream(device) if device.type == "cuda" else None

    def __enter__(self) -> "Stopwatch":
        if self._stream is not None:
            self._first, self._last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            self._first.record(self._stream)
        self.start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is None:
            self.seconds = time.perf_counter() - self.start
            return
        self._last.record(self._stream)
        self._last.synchronize()
        self.seconds = self._first.elapsed_time(self._last) / 1000
