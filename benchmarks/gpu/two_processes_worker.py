"""One of the two processes of two_processes.py: its part of the losses against the whole. torchrun starts it."""

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks.gpu.correctness import loss_and_update, relative_error
from benchmarks.gpu.problems import ranking_problems
from benchmarks.gpu.two_processes import TOLERANCES
from src.losses import (
    STEPS,
    ap_approximate_gradient_loss,
    ap_loss,
    ap_structured_hinge_loss,
    auc_loss,
    focal_loss,
)
from src.utils.distributed import end_without_abort

LOSSES: dict[str, Callable[..., Tensor]] = {
    **{f"ap_loss step={step}": functools.partial(ap_loss, step=step) for step in STEPS},
    "auc_loss": auc_loss,
    "ap_approximate_gradient_loss": ap_approximate_gradient_loss,
    "ap_structured_hinge_loss": ap_structured_hinge_loss,
    "focal_loss": focal_loss,
}


def main(backend: str, device: str, folder: Path) -> None:
    """Write this process's errors by loss and dtype to a file named by its rank."""
    if device == "cuda":
        torch.cuda.set_device(0)  # both processes share it
    dist.init_process_group(backend)
    end_without_abort()
    rank = dist.get_rank()
    scores, targets = ranking_problems(large=20_000)["large"]
    cut = scores.numel() // 3
    own = slice(0, cut) if rank == 0 else slice(cut, None)
    errors = {}
    for dtype in TOLERANCES:
        logits = scores.flatten().to(device, getattr(torch, dtype))
        labels = targets.flatten().to(device)
        for name, loss in LOSSES.items():
            together = functools.partial(loss, process_group=dist.group.WORLD)
            value, update = loss_and_update(together, logits[own], labels[own])
            expected_value, expected = loss_and_update(loss, logits, labels)
            # The update of the whole with this process's part put in: errors are relative to the whole.
            combined = expected.clone()
            combined[own] = update
            errors[f"{name}, {dtype}"] = {
                "loss": relative_error(value.double(), expected_value.double()),
                "update": relative_error(combined.double(), expected.double()),
            }
    (folder / f"{rank}.json").write_text(json.dumps(errors))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
