"""The training loop, and the step of training that it repeats."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from tqdm import tqdm

from src.data.loading import TrainingBatch
from src.detectors.detector import Detector
from src.detectors.proposals import ignore_others
from src.detectors.targets import Targets, box_loss
from src.losses import ap_loss
from src.runs.attempt import RunGuard
from src.runs.kept_rows import KeptRows
from src.runs.lineage import Lineage
from src.runs.tracking import Tracker
from src.training.checkpoint import load_checkpoint, save_checkpoint
from src.utils.distributed import World
from src.utils.errors import UserError
from src.utils.memory import peak, reset_peak
from src.utils.progress import refresh_interval
from src.utils.signals import Interrupted
from src.utils.timing import Stopwatch

AP_LOSS_EVERY = 10  # steps, so that the other steps' timings are those of training alone
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class NonFiniteLoss(UserError):
    """Training diverged."""


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
class TrainerOptions:
    """What a step of training depends on beside the model and the optimizer."""

    classes: int
    box_loss_weight: float = 1.0
    precision: str = "fp32"
    clip_gradient: float | None = None
    log_ap_loss: bool = False  # at some steps, to compare methods that optimise AP-loss by AP-loss itself


@dataclass(frozen=True)
class Length:
    """How long a training is, and how often it is interrupted by tests."""

    epochs: int
    evaluate_every: int  # epochs; the last one is always evaluated
    steps: int | None = None  # None, or the steps of a training of no whole epochs and without any test


def train(
    trainer: "Trainer",
    batches: Callable[..., DataLoader[TrainingBatch]],
    evaluate: Callable[[], dict[str, float]],
    length: Length,
    context: RunContext,
) -> dict[str, float]:
    """Train, evaluate and log from the last checkpoint to the end.

    Args:
        batches: takes the epoch, from 0, and how many of its batches to skip, and returns the others.
        evaluate: returns the metrics of the model as it is.

    Returns:
        The metrics at the end; none of a training of so many steps.

    Raises:
        NonFiniteLoss: naming the step.
        Interrupted: asked to stop; the checkpoint is that of the last step.
    """
    tracker, guard = context.tracker, context.guard
    progress = _Progress(trainer, context)
    memory_is_known = reset_peak(trainer.device) is not None
    steps_in_epoch = len(batches(epoch=0, skip=0))
    total = length.steps or length.epochs * steps_in_epoch
    with _progress_bar(total, tracker.step, context.name, trainer.world) as bar:
        while True:
            epoch, done = divmod(tracker.step, steps_in_epoch)
            at_an_evaluation = not done and (epoch % length.evaluate_every == 0 or epoch == length.epochs)
            evaluation_due = epoch and at_an_evaluation and length.steps is None
            if evaluation_due and progress.evaluated != tracker.step:
                progress.evaluated, progress.metrics = tracker.step, evaluate()
                tracker.log(progress.metrics)
                progress.save()
                bar.set_postfix(AP=_shown(progress.metrics))
            if tracker.step == total:
                return progress.metrics
            start = time.perf_counter()
            for batch in batches(epoch=epoch, skip=done):
                try:
                    values = trainer.step(batch)
                except NonFiniteLoss as error:
                    step = tracker.step + 1
                    raise NonFiniteLoss(f"step {step}: {error}. Last checkpoint: {context.checkpoint}") from None
                tracker.step += 1
                guard.note_step()
                seconds, start = time.perf_counter() - start, time.perf_counter()
                images = len(batch.images) * trainer.world.size
                speed = {"iteration_seconds": seconds, "images_per_second": images / seconds}
                memory = {"peak_memory": peak(trainer.device) / 2**20} if memory_is_known else {}
                bar.set_postfix(loss=f"{values['loss']:.3f}", AP=_shown(progress.metrics), refresh=False)
                bar.update()
                try:
                    tracker.log({**values, **speed, **memory, "epoch": epoch})
                    guard.check_stop()
                except Interrupted:
                    progress.save()
                    raise
                if tracker.step == total:
                    break
                if progress.minutes_since_save() > context.checkpoint_minutes:
                    progress.save()
            progress.save()


class _Progress:
    """How far a training is, as its checkpoint has it; the last checkpoint is restored if there is one."""

    def __init__(self, trainer: "Trainer", context: RunContext):
        self.trainer, self.context = trainer, context
        progress: dict[str, Any] = {"step": 0, "evaluated": 0, "metrics": {}, "rows": []}
        world = trainer.world
        if world.is_main:  # before the others, as it may set a damaged file aside
            progress |= load_checkpoint(context.checkpoint, trainer.parts(), context.lineage) or {}
        world.barrier()
        if not world.is_main:
            progress |= load_checkpoint(context.checkpoint, trainer.parts(), context.lineage) or {}
        world.barrier()
        self.evaluated: int = progress["evaluated"]  # the step of the last evaluation
        self.metrics: dict[str, float] = progress["metrics"]  # of the last evaluation
        context.tracker.resume(progress["step"], KeptRows.from_plain(progress["rows"]), context.lineage)
        self._saved = time.monotonic()

    def minutes_since_save(self) -> float:
        return (time.monotonic() - self._saved) / 60

    def save(self) -> None:
        """Save a checkpoint, on the main process."""
        self._saved = time.monotonic()
        if self.trainer.world.is_main:
            tracker = self.context.tracker
            progress = {"step": tracker.step, "evaluated": self.evaluated, "metrics": self.metrics}
            progress["rows"] = tracker.rows.to_plain()
            parts, context = self.trainer.parts(), self.context
            context.guard.write(lambda: save_checkpoint(context.checkpoint, parts, progress, context.lineage))


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


@dataclass
class Trainer:
    """All that one step of training needs.

    Attributes:
        detector: whose anchors are matched with the objects.
        model: its network: images [B, 3, H, W] to logits [B, A, K] (or K + 1) and box offsets [B, A, 4].
        classification_loss: logits and targets [B, A, K] to a scalar. With several processes it returns the value of
            them all, and its gradient is this process's part of a sum.
        propose: from images to which of their anchors are ranked beside the positive ones, bool [B, A]; None: all.
    """

    detector: Detector
    model: nn.Module
    classification_loss: Callable[[Tensor, Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    scheduler: LambdaLR
    device: torch.device
    options: TrainerOptions
    propose: Callable[[Tensor], Tensor] | None = None
    world: World = World()

    def __post_init__(self) -> None:
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.options.precision == "fp16")

    def parts(self) -> dict[str, Any]:
        """Return what a checkpoint must hold for training to go on as if nothing had happened."""
        return {
            "model": self.model,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "scaler": self.scaler,
        }

    def step(self, batch: TrainingBatch) -> dict[str, float]:
        """Train on one batch, of which this process has its part, and return what is to be logged of the whole.

        Raises:
            NonFiniteLoss: naming the learning rate; the weights are those before this step.
        """
        options = self.options
        self.model.train()
        images = batch.images.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        height, width = images.shape[-2:]
        anchors = torch.cat(self.detector.anchors(height, width, self.device))
        boxes = [b.to(self.device) for b in batch.boxes]
        labels = [x.to(self.device) for x in batch.labels]
        targets = self.detector.assign_targets(anchors, boxes, labels, classes=options.classes)
        if self.propose is not None:
            targets = ignore_others(targets, self.propose(images))

        positives = self.world.all_reduce_sum(torch.tensor(float(len(targets.boxes)), device=self.device))
        with autocast(self.device, options.precision):
            logits, offsets = self.model(images)
            localisation = box_loss(offsets, anchors, targets) * (len(targets.boxes) / positives.clamp(min=1))
        with Stopwatch(self.device) as loss_time:
            scores = logits.detach().requires_grad_()
            classification = self.classification_loss(scores, targets.classes)
            self.scaler.scale(classification).backward()

        learning_rate = self.optimizer.param_groups[0]["lr"]
        box = self.world.all_reduce_sum(localisation)
        total = float(classification.detach() + options.box_loss_weight * box)
        if not math.isfinite(total):
            raise NonFiniteLoss(
                f"the loss is {total} with learning rate {learning_rate:.3g}. Try a lower schedule.learning_rate, a "
                "longer schedule.warmup_iterations, schedule.clip_gradient=10 or precision=fp32"
            )
        true_ap_loss = {}
        if options.log_ap_loss and self.scheduler.last_epoch % AP_LOSS_EVERY == 0:
            true_ap_loss["ap_loss"] = self._true_ap_loss(scores, targets.classes)
        self._update_weights(logits, scores.grad, options.box_loss_weight * localisation)
        return {
            "loss": total,
            "classification_loss": float(classification.detach()),
            "box_loss": float(box),
            "learning_rate": learning_rate,
            **self._imbalance(targets, int(positives)),
            "loss_seconds": loss_time.seconds,
            **true_ap_loss,
        }

    def _imbalance(self, targets: Targets, positives: int) -> dict[str, float]:
        """Return how many logits of the batch are ranked, |P| and |N| of them, and |N| / |P|."""
        ranked = int(self.world.all_reduce_sum((targets.classes >= 0).sum()))
        counts = {"ranked_logits": ranked, "positives": positives, "negatives": ranked - positives}
        return counts | ({"imbalance": (ranked - positives) / positives} if positives else {})

    @torch.no_grad()
    def _true_ap_loss(self, scores: Tensor, targets: Tensor) -> float:
        """Return 1 − AP of the batch (Equation 5 with the Heaviside step function)."""
        return float(ap_loss(scores, targets, step="heaviside", interpolated=False, process_group=self.world.group))

    def _update_weights(self, logits: Tensor, logits_gradient: Tensor, weighted_box_loss: Tensor) -> None:
        """Propagate the update of the logits and the gradient of the box loss, and let the optimizer step."""
        self.optimizer.zero_grad()
        torch.autograd.backward([logits, self.scaler.scale(weighted_box_loss)], [logits_gradient, None])
        self.world.sum_gradients(self.model)
        if self.options.clip_gradient is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip_gradient)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Return the context of automatic mixed precision, or of nothing for fp32."""
    dtype = PRECISIONS[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)
