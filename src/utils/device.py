"""Choose the device that a run trains on."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from src.utils.errors import UserError

logger = logging.getLogger(__name__)


@contextmanager
def deterministic(enabled: bool) -> Iterator[None]:
    """If enabled, let torch use only algorithms that give the same bits each time on the same GPU.

    An operation without such an algorithm raises an error, which :func:`src.utils.errors.explain` explains.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    if enabled:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not deterministic
    try:
        torch.use_deterministic_algorithms(enabled)
        torch.backends.cudnn.deterministic = enabled
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # takes time
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.deterministic = before[1]
        torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]


def choose_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is this process's GPU if there is one, else the CPU.

    Raises:
        UserError: torch has no device of that name here.
    """
    if name == "auto":
        if os.environ.get("SLURM_JOB_GPUS") and not torch.cuda.is_available():
            logger.warning("SLURM has given this job GPUs, but torch finds none, so that the CPU is used")
        name = f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"
    gpus = torch.cuda.device_count()
    try:
        device = torch.device(name)
        if device.type == "cuda" and not torch.cuda.is_available():
            raise UserError(f"device={name}, but torch finds no GPU here; use device=auto or device=cpu")
        if device.type == "cuda" and (device.index or 0) >= gpus:
            raise UserError(f"device={name}, but torch finds {gpus} here, from cuda:0 on; use device=auto")
        float(torch.zeros(1, device=device))
    except (RuntimeError, NotImplementedError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device={name} is no device of torch's here ({reason}); use auto, cpu, or cuda:0") from error
    return device
