"""The processes that train one run together, launched by torchrun or SLURM, and their collectives."""

import atexit
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from src.utils.distributed_env import number_of_processes
from src.utils.errors import UserError
from src.utils.signals import Interrupted

T = TypeVar("T")
SIGN_OF_LIFE_S = 60.0  # well below the half hour after which collectives give up
FREEING_S = 0.1  # for gloo's threads to free the tensors of a collective; a millisecond has always been enough


@dataclass(frozen=True)
class World:
    """This process among all that work on a run; by default the only one. Only the main process writes and logs.

    Its methods are collectives: all processes must call the same ones in the same order.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # on this machine

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and logs."""
        return self.rank == 0

    @property
    def group(self) -> dist.ProcessGroup | None:
        """The process group of all processes; None for a single process."""
        return dist.group.WORLD if self.size > 1 else None

    @property
    def waits_on_gpus(self) -> bool:
        """Whether collectives are NCCL's, which wait on the GPU, and keep waiting if another process is gone."""
        return self.size > 1 and torch.cuda.is_available()

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()

    def broadcast(self, value: Any) -> Any:
        """Return the main process's value on all processes."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]

    def on_main(self, work: Callable[[Callable[[], None]], T]) -> T:
        """Call a function on the main process alone; return its value, or raise its UserError, on all.

        Args:
            work: may take long. It is given a function to call every few seconds, so that the others keep waiting.
        """
        if self.size == 1:
            return work(lambda: None)
        state = "at work"
        while not self.is_main and state == "at work":
            state, outcome = self.broadcast(None)
        if self.is_main:
            last = time.monotonic()

            def show_life() -> None:
                nonlocal last
                if time.monotonic() - last > SIGN_OF_LIFE_S:
                    self.broadcast(("at work", None))
                    last = time.monotonic()

            try:
                state, outcome = "done", work(show_life)
            except Interrupted:
                raise  # the others stop when they find this process gone
            except UserError as error:
                state, outcome = "failed", error
            self.broadcast((state, outcome))
        if state == "failed":
            raise outcome
        return outcome

    def gather_to_main(self, value: Any) -> list[Any]:
        """Return every process's value in rank order on the main process, an empty list on the others."""
        if self.size == 1:
            return [value]
        values = [None] * self.size if self.is_main else None
        dist.gather_object(value, values)
        return values or []

    def all_reduce_sum(self, value: Tensor) -> Tensor:
        """Return the sum over all processes, without a gradient."""
        value = value.detach()
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def with_overlap(self, module: nn.Module) -> nn.Module:
        """Return a module with the same parameters whose gradients are summed over processes during its backward pass.

        They are summed in buckets, whose order may differ in a resumed run; see `sum_gradients`.
        """
        if self.size == 1:
            return module
        parallel = DistributedDataParallel(module, broadcast_buffers=False, gradient_as_bucket_view=True)
        parallel.register_comm_hook(None, _sum_bucket)  # by default it divides by the number of processes
        return parallel

    def sum_gradients(self, module: nn.Module) -> None:
        """Replace the gradients of a module by their sums over all processes.

        They are added in one buffer of fixed order, so that a resumed run adds the same numbers in the same order;
        torch's DistributedDataParallel reorders its buckets after the first step.
        """
        if self.size == 1:
            return
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        buffer = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(buffer)
        for gradient, total in zip(gradients, buffer.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))


def _sum_bucket(_: object, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    return work.get_future().then(lambda future: future.value()[0])


def connect(expected: int) -> World:
    """Connect the processes that were launched together, and return this one's place among them.

    Further calls return the same.

    Raises:
        UserError: the number of processes is not the expected one.
    """
    size = number_of_processes()
    if size != expected:
        raise UserError(
            f"processes={expected}, but {size} started; start them with torchrun --nproc-per-node {expected} -m "
            "src.run … or with a preset of slurm/"
        )
    if size == 1:
        return World()
    if "WORLD_SIZE" not in os.environ:
        _set_torchrun_variables(size)
    missing = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise UserError(
            f"the environment has WORLD_SIZE={size}, but not {', '.join(missing)}: start the run with torchrun, or "
            "`unset WORLD_SIZE`"
        )
    world = World(int(os.environ["RANK"]), size, int(os.environ["LOCAL_RANK"]))
    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(world.local_rank % torch.cuda.device_count())
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        end_without_abort()
    return world


def end_without_abort() -> None:
    """Make this process, which has a process group, wait for gloo's threads when it ends.

    They free the tensors of the last collective, for which they need the interpreter; if it is about to end, torch
    aborts the process. Destroying the group would wait for them too, but with NCCL also for processes that are gone.
    """
    atexit.register(time.sleep, FREEING_S)


def _set_torchrun_variables(size: int) -> None:
    """Set torchrun's variables, which torch.distributed reads, from SLURM's."""
    variables = os.environ
    job = int(variables["SLURM_JOB_ID"])
    variables["WORLD_SIZE"], variables["RANK"] = str(size), variables["SLURM_PROCID"]
    variables["LOCAL_RANK"] = variables["SLURM_LOCALID"]
    variables.setdefault("MASTER_ADDR", _address_of_first_node())
    # Jobs and job steps that share a machine need different ports.
    variables.setdefault("MASTER_PORT", str(20000 + (job * 7 + int(variables["SLURM_STEP_ID"])) % 40000))


def _address_of_first_node() -> str:
    """Return the address of the job step's first node."""
    if os.environ.get("SLURM_STEP_NUM_NODES", "1") == "1":
        return "127.0.0.1"
    scontrol = ["scontrol", "--oneliner", "show", "node", os.environ["SLURM_STEP_NODELIST"]]
    answer = subprocess.run(scontrol, capture_output=True, text=True, timeout=60, check=True).stdout
    nodes = (dict(word.split("=", 1) for word in line.split() if "=" in word) for line in answer.splitlines())
    return next(node["NodeAddr"] for node in nodes)


def is_lost_peer(error: Exception) -> bool:
    """Return whether an error is only a consequence of another process's end, whose error is the one to read."""
    # Gloo's errors are plain RuntimeErrors, recognisable only by the source file that their text names.
    return isinstance(error, dist.DistError) or "/gloo/" in str(error)
