"""What the processes of a group exchange, so that a loss is computed over all their logits together."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from .checks import check_group
from .chunks import in_chunks


class Collectives:
    """The processes of a group; without a group only this process, for which each method is local.

    All processes must call the same methods in the same order, whatever logits each has: whether a method is called may
    depend only on values that are equal on all of them. An error raised on only one process, such as one for a wrong
    argument, leaves the others waiting until the group's timeout.

    Args:
        group: of which this process is a member.
        device: that of this process's tensors; the group's backend must support it.
    """

    def __init__(self, group: dist.ProcessGroup | None, device: torch.device):
        check_group(group)
        self.group, self.device = group, device

    def totals(self, *numbers: int) -> list[int]:
        """Return the sum of each number over the processes."""
        if self.group is None:
            return list(numbers)
        return self.sum(torch.tensor(numbers, device=self.device)).tolist()

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum of x, of one shape on all processes; ``backward()`` passes the gradient to this process's."""
        return x if self.group is None else _Sum.apply(x, self.group)

    def extreme(self, x: Tensor, reduction: Callable[[Tensor], Tensor], neutral: float) -> Tensor:
        """Return torch.amin or amax over the x [n] of all processes, NaN if one is; an empty x counts as `neutral`."""
        extreme = x.new_full((), neutral)
        if len(x):
            extreme = reduction(torch.stack([reduction(chunk) for (chunk,) in in_chunks(x)]))
        if self.group is None:
            return extreme
        # Backends differ in what they take for the larger of a number and NaN.
        return reduction(torch.cat(self._gather(extreme[None])))

    def sort(self, x: Tensor, descending: bool = False) -> tuple[Tensor, Tensor, Tensor | slice]:
        """Sort the x [n] of all processes together, ties in rank order; n may differ, and be 0.

        Returns:
            All entries in order, [m]; the order of this process's own, int64 [n]; and the indices of its own among all
            entries, int64 [n] or a slice of all.
        """
        if self.group is None:
            return *x.sort(stable=True, descending=descending), slice(None)
        together, before = self._concatenate(x)
        together, order = together.sort(stable=True, descending=descending)
        positions = ((order >= before) & (order < before + len(x))).nonzero().squeeze(1)
        return together, order[positions] - before, positions

    def _concatenate(self, x: Tensor) -> tuple[Tensor, int]:
        """Return the x [n] of all processes in rank order, and how many entries precede this process's."""
        counts = torch.cat(self._gather(torch.tensor([len(x)], device=self.device))).tolist()
        # Backends gather tensors of one size only, and not all of them empty ones.
        padded = x.new_zeros(max(1, *counts))
        padded[: len(x)] = x
        together = torch.cat([one[:count] for one, count in zip(self._gather(padded), counts, strict=True)])
        assert self.group is not None  # a process alone gathers nothing
        return together, sum(counts[: self.group.rank()])

    def _gather(self, x: Tensor) -> list[Tensor]:
        """Return the x of all processes, of one shape, in rank order."""
        assert self.group is not None
        gathered = [torch.empty_like(x) for _ in range(self.group.size())]
        dist.all_gather(gathered, x, group=self.group)
        return gathered


def shared_nan(loss: Tensor) -> Tensor:
    """Return a scalar loss; if it is NaN, so is the gradient of all that it was computed from, on every process."""
    return loss * torch.where(loss.detach().isnan(), torch.nan, 1)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        x = x.clone()
        dist.all_reduce(x, group=group)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None
