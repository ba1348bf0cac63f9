"""The training loop."""

import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from src.data.loading import TrainingBatch, on_device
from src.runs.attempt import RunGuard
from src.runs.kept_rows import KeptRows
from src.runs.lineage import Lineage
from src.runs.tracking import Tracker
from src.training.checkpoint import load_on_all, save_checkpoint
from src.training.step import HOW_TO_CONVERGE, NonFiniteLoss, StepValues, Trainer
from src.utils.distributed import World
from src.utils.memory import peak, reset_peak
from src.utils.progress import refresh_interval
from src.utils.signals import Interrupted


@dataclass(frozen=True)
class RunContext:
    """Where a training saves and logs, and what can stop it."""

    checkpoint: Path
    checkpoint_minutes: float  # a checkpoint is also saved after each epoch, and when asked to stop
    tracker: Tracker
    guard: RunGuard
    lineage: Lineage  # of the run; after `train` it holds all attempts
    name: str  # shown before the progress bar


@dataclass(frozen=True)
class Length:
    """How long a training is, and how often it is interrupted by tests."""

    epochs: int
    evaluate_every: int  # epochs; the last one is always evaluated
    steps: int | None = None  # if given, training stops after this many steps and nothing is tested


def train(
    trainer: Trainer,
    batches: Callable[..., DataLoader[TrainingBatch]],
    evaluate: Callable[[], dict[str, float]],
    length: Length,
    context: RunContext,
) -> dict[str, float]:
    """Train, evaluate and log from the last checkpoint to the end.

    Args:
        batches: takes the first epoch (from 0), how many of its batches to skip, and the number of `epochs`; returns
            the remaining batches of these epochs.
        evaluate: returns the metrics of the model in its current state.

    Returns:
        The metrics at the end; empty if `length.steps` is given.

    Raises:
        NonFiniteLoss: naming the step.
        Interrupted: asked to stop; the last step has been saved.
    """
    tracker, guard = context.tracker, context.guard
    steps_in_epoch = len(batches(epoch=0))
    total = length.steps or length.epochs * steps_in_epoch
    progress = _Progress(trainer, context, steps_in_epoch, total)
    remaining = _batches_from(tracker.step, batches, steps_in_epoch, total=total, device=trainer.device)
    with progress.bar:
        while True:
            epoch, done = divmod(tracker.step, steps_in_epoch)
            at_an_evaluation = not done and (epoch % length.evaluate_every == 0 or epoch == length.epochs)
            evaluation_due = epoch and at_an_evaluation and length.steps is None
            if evaluation_due and progress.evaluated != tracker.step:
                progress.evaluated, progress.metrics = tracker.step, evaluate()
                tracker.log(progress.metrics)
                progress.save()
                progress.bar.set_postfix(AP=_shown(progress.metrics))
            if tracker.step == total:
                return progress.metrics
            progress.start_clock()
            for batch in itertools.islice(remaining, min(steps_in_epoch - done, total - tracker.step)):
                progress.launch(batch)
                guard.note_step()
                try:
                    progress.log_steps(but=progress.lag)
                    guard.check_stop()
                except Interrupted:
                    progress.save()
                    raise
                if progress.minutes_since_save() > context.checkpoint_minutes:
                    progress.save()
            progress.save()


def _batches_from(
    step: int,
    batches: Callable[..., DataLoader[TrainingBatch]],
    steps_in_epoch: int,
    *,
    total: int,
    device: torch.device,
) -> Iterator[TrainingBatch]:
    """Yield the batches from a step to the end of training, on a device, from one loader with persistent processes."""
    epoch, done = divmod(step, steps_in_epoch)
    epochs = math.ceil(total / steps_in_epoch) - epoch
    yield from on_device(batches(epoch=epoch, skip=done, epochs=epochs), device)


def lag_of(device: torch.device) -> int:
    """Return how many launched steps may be unread when the next one is launched, so that no GPU waits."""
    return int(device.type == "cuda")


class _Progress:
    """The progress of a training, as kept in its checkpoint; the last checkpoint is restored if there is one.

    Attributes:
        lag: see :func:`lag_of`.
        evaluated: the step of the last evaluation.
        metrics: of the last evaluation.
        bar: the progress bar.
    """

    def __init__(self, trainer: Trainer, context: RunContext, steps_in_epoch: int, total: int):
        self.trainer, self.context, self.steps_in_epoch = trainer, context, steps_in_epoch
        progress: dict[str, Any] = {"step": 0, "evaluated": 0, "metrics": {}, "rows": []}
        world = trainer.world
        progress |= load_on_all(world, context.checkpoint, trainer.parts(), context.lineage) or {}
        self.evaluated: int = progress["evaluated"]
        self.metrics: dict[str, float] = progress["metrics"]
        context.tracker.resume(progress["step"], KeptRows.from_plain(progress["rows"]), context.lineage)
        self.bar = _progress_bar(total, context.tracker.step, context.name, world)
        self.lag = lag_of(trainer.device)
        self._launched: deque[tuple[StepValues, int]] = deque()  # steps not logged yet, with their numbers of images
        self._memory_is_known = reset_peak(trainer.device) is not None
        self._compiles = self.lag > 0  # the first step on a GPU compiles kernels, so its times are not logged
        self._saved = time.monotonic()
        self._finite = _finite(trainer.model)

    def start_clock(self) -> None:
        """Start timing the next step."""
        self._clock = time.perf_counter()

    def launch(self, batch: TrainingBatch) -> None:
        """Launch a step on this process's part of a batch.

        Raises:
            NonFiniteLoss: naming the step.
        """
        with self._named(self.context.tracker.step + len(self._launched) + 1):
            values = self.trainer.step(batch)
        self._launched.append((values, len(batch.images)))

    def log_steps(self, but: int = 0) -> None:
        """Log all launched steps except the last `but`.

        Raises:
            NonFiniteLoss: naming the step.
        """
        while len(self._launched) > but:
            self._log_step(*self._launched.popleft())

    def _log_step(self, values: StepValues, images: int) -> None:
        tracker, device, bar = self.context.tracker, self.trainer.device, self.bar
        with self._named(tracker.step + 1):
            read = values.read()
        epoch = tracker.step // self.steps_in_epoch
        tracker.step += 1
        seconds, self._clock = time.perf_counter() - self._clock, time.perf_counter()
        speed = {"iteration_seconds": seconds, "images_per_second": images * self.trainer.world.size / seconds}
        if self._compiles:
            del read["loss_seconds"]
            speed, self._compiles = {}, False
        memory = {"peak_memory": peak(device) / 2**20} if self._memory_is_known else {}
        bar.set_postfix(loss=f"{read['loss']:.3f}", AP=_shown(self.metrics), refresh=False)
        bar.update()
        tracker.log({**read, **speed, **memory, "epoch": epoch})

    @contextmanager
    def _named(self, step: int) -> Iterator[None]:
        """Add a step and the last checkpoint to the message of a NonFiniteLoss."""
        try:
            yield
        except NonFiniteLoss as error:
            raise NonFiniteLoss(f"step {step}: {error}. Last checkpoint: {self.context.checkpoint}") from None

    def _check_weights(self) -> None:
        """Raise NonFiniteLoss if a weight is no longer finite, as after a step of finite loss but infinite gradient."""
        now = _finite(self.trainer.model)
        with self._named(self.context.tracker.step):
            for name in self._finite:
                if name not in now:
                    raise NonFiniteLoss(f"{name} is no longer finite. {HOW_TO_CONVERGE}")

    def minutes_since_save(self) -> float:
        return (time.monotonic() - self._saved) / 60

    def save(self) -> None:
        """Log all steps, and save a checkpoint, on the main process.

        Raises:
            NonFiniteLoss: the last step's loss, or a weight after it, is not finite; nothing is saved.
        """
        lost_log = None
        try:
            self.log_steps()
        except Interrupted as error:  # the step is already counted, and its row kept
            lost_log = error
        self._check_weights()
        self._saved = time.monotonic()
        if self.trainer.world.is_main:
            tracker = self.context.tracker
            progress = {"step": tracker.step, "evaluated": self.evaluated, "metrics": self.metrics}
            progress["rows"] = tracker.rows.to_plain()
            parts, context = self.trainer.parts(), self.context
            context.guard.write(lambda: save_checkpoint(context.checkpoint, parts, progress, context.lineage))
        if lost_log is not None:
            raise lost_log


def _finite(network: nn.Module) -> list[str]:
    """Return the names of the weights and buffers that are finite; a mask of −∞ in an own detector never is."""
    state = network.state_dict().items()
    return [name for name, value in state if isinstance(value, Tensor) and bool(value.isfinite().all())]


def _progress_bar(total: int, done: int, name: str, world: World) -> tqdm:
    interval = refresh_interval()
    return tqdm(
        total=total,
        initial=done,
        desc=name,
        unit="step",
        smoothing=0.05,
        mininterval=interval,
        maxinterval=max(interval, 10),
        disable=not world.is_main,
    )


def _shown(metrics: dict[str, float]) -> str:
    return f"{metrics['AP']:.1f}" if metrics else "–"
