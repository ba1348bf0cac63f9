"""The processes that train one run together, as torchrun or SLURM starts them, and what they tell each other."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from src.errors import UserError
from src.started import number_of_processes


@dataclass(frozen=True)
class Processes:
    """This process among all that work on a run; alone by default. Only the first writes and logs."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # on this machine

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def group(self) -> dist.ProcessGroup | None:
        return dist.group.WORLD if self.size > 1 else None

    def share(self, value: Any) -> Any:
        """The first process's value, on all."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, in the order of ranks; on the first process alone, empty on others."""
        if self.size == 1:
            return [value]
        values = [None] * self.size if self.first else None
        dist.gather_object(value, values)
        return values or []

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all processes, without a gradient."""
        value = value.detach()
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def sum_gradients(self, module: nn.Module) -> None:
        """Adds up the gradients of all processes.

        In one buffer with a fixed order, so that a resumed run adds the same numbers in the same order; torch's
        DistributedDataParallel orders its buckets anew after the first step.
        """
        if self.size == 1:
            return
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        buffer = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(buffer)
        for gradient, total in zip(gradients, buffer.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))


def connect(expected: int) -> Processes:
    """Joins this process with those that were started together with it; asked again, answers the same.

    Raises:
        UserError: there are not as many as expected.
    """
    size = number_of_processes()
    if size != expected:
        raise UserError(
            f"processes={expected}, but there is {size}; start them with torchrun --nproc-per-node {expected} -m "
            "src.run … or by a preset of slurm/"
        )
    if size == 1:
        return Processes()
    if "WORLD_SIZE" not in os.environ:
        _name_ourselves_by_slurm(size)
    processes = Processes(int(os.environ["RANK"]), size, int(os.environ["LOCAL_RANK"]))
    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(processes.local_rank % torch.cuda.device_count())
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return processes


def _name_ourselves_by_slurm(size: int) -> None:
    """Sets what torchrun would have set, which is also what torch.distributed reads."""
    variables = os.environ
    job = int(variables["SLURM_JOB_ID"])
    variables["WORLD_SIZE"], variables["RANK"] = str(size), variables["SLURM_PROCID"]
    variables["LOCAL_RANK"] = variables["SLURM_LOCALID"]
    variables.setdefault("MASTER_ADDR", _first_address())
    # Jobs and job steps that share a machine must not meet.
    variables.setdefault("MASTER_PORT", str(20000 + (job * 7 + int(variables["SLURM_STEP_ID"])) % 40000))


def _first_address() -> str:
    """The address of the job step's first node."""
    if os.environ.get("SLURM_STEP_NUM_NODES", "1") == "1":
        return "127.0.0.1"
    scontrol = ["scontrol", "--oneliner", "show", "node", os.environ["SLURM_STEP_NODELIST"]]
    answer = subprocess.run(scontrol, capture_output=True, text=True, timeout=60, check=True).stdout
    nodes = (dict(word.split("=", 1) for word in line.split() if "=" in word) for line in answer.splitlines())
    return next(node["NodeAddr"] for node in nodes)


def has_lost_others(error: Exception) -> bool:
    """Whether an error says no more than that another process has gone, whose own error is the one to look for."""
    return isinstance(error, dist.DistError) or "/gloo/" in str(error)


def over_processes(
    loss: Callable[..., Tensor], processes: Processes, alone: bool
) -> Callable[[Tensor, Tensor], Tensor]:
    """A loss of (logits, targets) as a loss of those of all processes, whose gradients are to be added.

    Args:
        loss: takes the logits and targets of one process, and a `process_group` of those it is a loss of together.
        alone: whether each process has the loss of its own logits; their mean is what is optimised and returned.
    """
    if not alone:
        return partial(loss, process_group=processes.group)

    def part(logits: Tensor, targets: Tensor) -> Tensor:
        value = loss(logits, targets) / processes.size
        return value + (processes.sum(value) - value.detach())

    return part


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the images of all processes, on any device; torch's own needs a GPU."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        count = _SumOverProcesses.apply(wide.new_tensor(x.numel() // x.shape[1]))
        mean = _SumOverProcesses.apply(wide.sum((0, 2, 3))) / count
        centred = wide - mean[:, None, None]
        variance = _SumOverProcesses.apply(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class _SumOverProcesses(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _SumOverProcesses.apply(gradient)


def synchronise_batch_norms(module: nn.Module, device: torch.device) -> nn.Module:
    """The module with batch norms over the images of all processes, under the same names."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            kind = {"device": child.weight.device, "dtype": child.weight.dtype}
            other = SynchronisedBatchNorm(child.num_features, child.eps, child.momentum, **kind)
            other.load_state_dict(child.state_dict())
            setattr(module, name, other)
        else:
            synchronise_batch_norms(child, device)
    return module
