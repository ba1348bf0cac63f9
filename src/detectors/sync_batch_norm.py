"""Batch normalisation over the images of all processes, on a CPU too, where torch's SyncBatchNorm does not run."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def synchronise_batch_norms(module: nn.Module, device: torch.device) -> nn.Module:
    """Replace the batch norms of a module by synchronised ones with the same names, and return the module."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            replacement = SynchronisedBatchNorm(
                child.num_features, child.eps, child.momentum, device=child.weight.device, dtype=child.weight.dtype
            )
            replacement.load_state_dict(child.state_dict())
            setattr(module, name, replacement)
        else:
            synchronise_batch_norms(child, device)
    return module


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the images of all processes, on any device."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x, float [B, C, H, W]; in training with mean and variance over the images of all processes."""
        if not self.training:
            return super().forward(x)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        count = _AllReduceSum.apply(wide.new_tensor(x.numel() // x.shape[1]))
        mean = _AllReduceSum.apply(wide.sum((0, 2, 3))) / count
        centred = wide - mean[:, None, None]
        variance = _AllReduceSum.apply(centred.square().sum((0, 2, 3))) / count
        assert self.num_batches_tracked is not None and self.momentum is not None
        assert self.running_mean is not None and self.running_var is not None
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _AllReduceSum.apply(gradient)
