"""Timing code that runs on a device."""

import time

import torch


class Stopwatch:
    """A context that measures its duration; on a GPU by events, starting when earlier kernels have ended."""

    def __init__(self, device: torch.device):
        self._stream = torch.cuda.current_stream(device) if device.type == "cuda" else None

    def __enter__(self) -> "Stopwatch":
        if self._stream is not None:
            self._first, self._last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            self._first.record(self._stream)
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._seconds = time.perf_counter() - self._start
        if self._stream is not None:
            self._last.record(self._stream)

    @property
    def seconds(self) -> float:
        """The duration in seconds; waits until the GPU has finished."""
        if self._stream is None:
            return self._seconds
        self._last.synchronize()
        return self._first.elapsed_time(self._last) / 1000
