"""Peak memory: of tensors on a GPU, and of the process (resident set size) on the CPU of a Linux machine."""

import ctypes
import gc
from pathlib import Path

import torch


def reset_peak(device: torch.device) -> int | None:
    """Start measuring the peak, from the memory currently in use.

    Returns:
        The bytes currently in use; None where the peak cannot be reset, on other systems or if the kernel forbids it:
        a peak that is not reset could be that of an earlier run in this process.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    if device.type != "cpu":
        return None
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM, the highest VmRSS, to what it is now
    except (AttributeError, OSError, TypeError):  # another C library; no such file or not writable; Windows
        return None
    return _process_status("VmRSS")


def peak(device: torch.device) -> int:
    """Return the highest number of bytes in use since `reset_peak`."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _process_status("VmHWM")


def _process_status(key: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key + ":"))
    return int(line.split()[1]) * 1024
