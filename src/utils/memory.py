"""The most memory in use: on a GPU that of tensors, on Linux's CPUs all that is resident of this process."""

import ctypes
import gc
from pathlib import Path

import torch


def reset_peak(device: torch.device) -> int | None:
    """Begins to look for a peak, whatever this process had in use before.

    Returns:
        The bytes in use now; None where they cannot be told: on other systems, and where the kernel does not let them
        be reset. A peak that is not reset would be that of an earlier run in this process.
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
    except (AttributeError, OSError, TypeError):  # another C library; no such file, or not to be written; Windows
        return None
    return _process_status("VmRSS")


def peak(device: torch.device) -> int:
    """The most bytes in use since `reset_peak`."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _process_status("VmHWM")


def _process_status(key: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key + ":"))
    return int(line.split()[1]) * 1024
