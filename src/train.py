"""The training loop."""

import math
import sys
import time
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from src.checkpoint import load_checkpoint, save_checkpoint
from src.data.loading import TrainingBatch
from src.detectors.anchors import make_anchors
from src.detectors.targets import assign_targets, box_loss
from src.distributed import Processes
from src.errors import UserError
from src.interruption import Interrupted
from src.lifecycle import Hold
from src.losses import ap_loss
from src.memory import peak, reset_peak
from src.tracking import Tracker

AP_LOSS_EVERY = 10  # steps; seldom, so that the time of the others is that of training alone
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class NonFiniteLoss(UserError):
    """Training diverged."""


@dataclass
class Trainer:
    """All that one step of training needs.

    ``classification_loss`` maps logits [B, A, K], or as many as it wants, and targets [B, A, K] to a scalar.
    With several ``processes`` it returns the value of them all, and its gradient is this process's part of a sum.
    ``log_ap_loss`` is for comparing what optimises AP-loss: at some steps AP-loss itself is measured and logged.
    """

    model: nn.Module
    classification_loss: Callable[[Tensor, Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    scheduler: LambdaLR
    scaler: torch.amp.GradScaler
    device: torch.device
    classes: int
    anchor_scale: float
    box_loss_weight: float = 1.0
    precision: str = "fp32"
    clip_gradient: float | None = None
    log_ap_loss: bool = False
    processes: Processes = Processes()

    def parts(self) -> dict[str, Any]:
        """What a checkpoint must hold for training to go on as if nothing had happened."""
        return {
            "model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler, "scaler": self.scaler
        }

    def step(self, batch: TrainingBatch) -> dict[str, float]:
        """Trains on one batch, of which this process has its part, and returns what is to be logged of the whole.

        Raises:
            NonFiniteLoss: naming the learning rate; the weights are those before this step.
        """
        self.model.train()
        images = batch.images.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        anchors = torch.cat(make_anchors(*images.shape[-2:], self.anchor_scale, self.device))
        boxes = [b.to(self.device) for b in batch.boxes]
        labels = [x.to(self.device) for x in batch.labels]
        targets = assign_targets(anchors, boxes, labels, self.classes)

        positives = self.processes.sum(torch.tensor(float(len(targets.boxes)), device=self.device))
        with autocast(self.device, self.precision):
            logits, offsets = self.model(images)
            localisation = box_loss(offsets, anchors, targets) * (len(targets.boxes) / positives.clamp(min=1))
        with Stopwatch(self.device) as loss_time:
            scores = logits.detach().requires_grad_()
            classification = self.classification_loss(scores, targets.classes)
            self.scaler.scale(classification).backward()

        learning_rate = self.optimizer.param_groups[0]["lr"]
        weighted = self.box_loss_weight * localisation
        box = self.processes.sum(localisation)
        total = float(classification.detach() + self.box_loss_weight * box)
        if not math.isfinite(total):
            raise NonFiniteLoss(
                f"the loss is {total} with learning rate {learning_rate:.3g}. Try a lower schedule.learning_rate, a "
                "longer schedule.warmup_iterations, schedule.clip_gradient=10 or precision=fp32"
            )
        measured = {}
        if self.log_ap_loss and self.scheduler.last_epoch % AP_LOSS_EVERY == 0:
            with torch.no_grad():
                group = self.processes.group
                loss = ap_loss(scores, targets.classes, step="heaviside", interpolated=False, process_group=group)
                measured["ap_loss"] = float(loss)
        self.optimizer.zero_grad()
        torch.autograd.backward([logits, self.scaler.scale(weighted)], [scores.grad, None])
        self.processes.sum_gradients(self.model)
        if self.clip_gradient is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_gradient)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        return {
            "loss": total,
            "classification_loss": float(classification.detach()),
            "box_loss": float(box),
            "learning_rate": learning_rate,
            "positives": int(positives),
            "loss_seconds": loss_time.seconds,
            **measured,
        }


def train(
    trainer: Trainer,
    batches: Callable[..., Collection[TrainingBatch]],
    epochs: int,
    evaluate: Callable[[], dict[str, float]],
    evaluate_every: int,
    checkpoint: Path,
    checkpoint_minutes: float,
    tracker: Tracker,
    hold: Hold,
    name: str,
) -> dict[str, float]:
    """Trains, evaluates and logs from the last checkpoint to the end.

    Args:
        batches: takes the epoch, from 0, and how many of its batches to skip, and gives the others.
        evaluate: the metrics of the model as it is; asked every `evaluate_every` epochs and at the end.
        checkpoint_minutes: a checkpoint is saved so often, after each epoch, and when asked to stop.
        name: shown before the progress bar.

    Returns:
        The metrics at the end.

    Raises:
        NonFiniteLoss: naming the step.
        Interrupted: asked to stop; the checkpoint is that of the last step.
    """
    first = trainer.processes.first
    progress = _resume(checkpoint, trainer, tracker)
    saved = time.monotonic()

    def save() -> None:
        nonlocal saved
        saved = time.monotonic()
        progress.update(step=tracker.step, rows=tracker.recent())
        if first:
            hold.check_claim()
            save_checkpoint(checkpoint, trainer.parts(), progress)

    memory_is_told = reset_peak(trainer.device) is not None
    steps_in_epoch = len(batches(epoch=0, skip=0))
    seldom = 0.1 if sys.stderr.isatty() else 30.0  # a log file is no screen
    with tqdm(
        total=epochs * steps_in_epoch, initial=tracker.step, desc=name, unit="step", smoothing=0.05,
        mininterval=seldom, maxinterval=max(seldom, 10), disable=not first,
    ) as bar:  # fmt: skip
        while True:
            epoch, done = divmod(tracker.step, steps_in_epoch)
            evaluation_due = epoch and not done and (epoch % evaluate_every == 0 or epoch == epochs)
            if evaluation_due and progress["evaluated"] != tracker.step:
                metrics = evaluate()
                tracker.log(metrics)
                progress.update(evaluated=tracker.step, metrics=metrics)
                save()
                bar.set_postfix(AP=_shown(metrics))
            if epoch == epochs:
                return progress["metrics"]
            begun = time.perf_counter()
            for batch in batches(epoch=epoch, skip=done):
                try:
                    values = trainer.step(batch)
                except NonFiniteLoss as error:
                    raise NonFiniteLoss(f"step {tracker.step + 1}: {error}. Last checkpoint: {checkpoint}") from None
                tracker.step += 1
                seconds, begun = time.perf_counter() - begun, time.perf_counter()
                images = len(batch.images) * trainer.processes.size
                speed = {"iteration_seconds": seconds, "images_per_second": images / seconds}
                memory = {"peak_memory": peak(trainer.device) / 2**20} if memory_is_told else {}
                tracker.log({**values, **speed, **memory, "epoch": epoch})
                bar.set_postfix(loss=f"{values['loss']:.3f}", AP=_shown(progress["metrics"]), refresh=False)
                bar.update()
                try:
                    hold.check()
                except Interrupted:
                    save()
                    raise
                if time.monotonic() - saved > 60 * checkpoint_minutes:
                    save()
            save()


def _resume(checkpoint: Path, trainer: Trainer, tracker: Tracker) -> dict[str, Any]:
    """Restores the last checkpoint, if there is one, and returns how far the training is."""
    progress = {"step": 0, "evaluated": 0, "metrics": {}, "rows": []}
    processes = trainer.processes
    if processes.first:  # before the others, as it may set a damaged file aside
        progress |= load_checkpoint(checkpoint, trainer.parts()) or {}
    processes.share(None)
    if not processes.first:
        progress |= load_checkpoint(checkpoint, trainer.parts()) or {}
    processes.share(None)
    tracker.resume(progress["step"], progress["rows"])
    return progress


def _shown(metrics: dict[str, float]) -> str:
    return f"{metrics['AP']:.1f}" if metrics else "–"


def build_trainer(
    model: nn.Module,
    classification_loss: Callable[[Tensor, Tensor], Tensor],
    steps: int,
    device: torch.device,
    classes: int,
    anchor_scale: float,
    batch_size: int,
    precision: str,
    log_ap_loss: bool,
    processes: Processes,
    *,
    learning_rate: float,
    reference_batch_size: int,
    warmup_iterations: int,
    decay_at: list[float],
    momentum: float,
    weight_decay: float,
    box_loss_weight: float,
    clip_gradient: float | None,
) -> Trainer:
    """A trainer with SGD, whose learning rate is linear in the batch size and follows :func:`learning_rate_factor`.

    Args:
        steps: of the whole training.
        The others are the keys of the configuration's `schedule`.
    """
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad],
        lr=learning_rate * batch_size / reference_batch_size,
        momentum=momentum,
        weight_decay=weight_decay,
    )
    scheduler = LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps, warmup_iterations, decay_at))
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    return Trainer(
        model, classification_loss, optimizer, scheduler, scaler, device, classes, anchor_scale, box_loss_weight,
        precision, clip_gradient, log_ap_loss, processes,
    )  # fmt: skip


def learning_rate_factor(step: int, steps: int, warmup_iterations: int, decay_at: list[float]) -> float:
    """Linear warm-up from one third, then a division by 10 at each part of `decay_at` of the training."""
    warmup = min(step / warmup_iterations, 1) if warmup_iterations else 1
    return (1 + 2 * warmup) / 3 * 0.1 ** sum(step >= part * steps for part in decay_at)


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is this process's GPU if there is one."""
    if name == "auto":
        name = f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device={name}, but torch finds no GPU here; use device=auto or device=cpu")
    return device


def autocast(device: torch.device, precision: str):
    """The context of automatic mixed precision, or none for fp32."""
    dtype = PRECISIONS[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


class Stopwatch:
    """Seconds spent in a block; on a GPU the block's kernels are waited for."""

    def __init__(self, device: torch.device):
        self.wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    def __enter__(self) -> "Stopwatch":
        self.wait()
        self.begun = time.perf_counter()
        return self

    def __exit__(self, *_) -> None:
        self.wait()
        self.seconds = time.perf_counter() - self.begun
