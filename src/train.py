"""The training loop."""

import math
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
from src.errors import UserError
from src.losses import ap_loss
from src.tracking import Tracker

AP_LOSS_EVERY = 10  # steps; seldom, so that the time of the others is that of training alone
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class NonFiniteLoss(UserError):
    """Training diverged."""


@dataclass
class Trainer:
    """All that one step of training needs.

    ``classification_loss`` maps logits [B, A, K], or as many as it wants, and targets [B, A, K] to a scalar.
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

    def parts(self) -> dict[str, Any]:
        """What a checkpoint must hold for training to go on as if nothing had happened."""
        return {
            "model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler, "scaler": self.scaler
        }

    def step(self, batch: TrainingBatch) -> dict[str, float]:
        """Trains on one batch and returns what is to be logged of it.

        Raises:
            NonFiniteLoss: naming the learning rate; the weights are those before this step.
        """
        self.model.train()
        images = batch.images.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        anchors = torch.cat(make_anchors(*images.shape[-2:], self.anchor_scale, self.device))
        boxes = [b.to(self.device) for b in batch.boxes]
        labels = [x.to(self.device) for x in batch.labels]
        targets = assign_targets(anchors, boxes, labels, self.classes)

        with autocast(self.device, self.precision):
            logits, offsets = self.model(images)
            localisation = box_loss(offsets, anchors, targets)
        with Stopwatch(self.device) as loss_time:
            scores = logits.detach().requires_grad_()
            classification = self.classification_loss(scores, targets.classes)
            self.scaler.scale(classification).backward()

        learning_rate = self.optimizer.param_groups[0]["lr"]
        weighted = self.box_loss_weight * localisation
        total = float(classification.detach() + weighted.detach())
        if not math.isfinite(total):
            raise NonFiniteLoss(
                f"the loss is {total} with learning rate {learning_rate:.3g}. Try a lower schedule.learning_rate, a "
                "longer schedule.warmup_iterations, schedule.clip_gradient=10 or precision=fp32"
            )
        measured = {}
        if self.log_ap_loss and self.scheduler.last_epoch % AP_LOSS_EVERY == 0:
            with torch.no_grad():
                measured["ap_loss"] = float(ap_loss(scores, targets.classes, step="heaviside", interpolated=False))
        self.optimizer.zero_grad()
        torch.autograd.backward([logits, self.scaler.scale(weighted)], [scores.grad, None])
        if self.clip_gradient is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_gradient)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        return {
            "loss": total,
            "classification_loss": float(classification.detach()),
            "box_loss": float(localisation.detach()),
            "learning_rate": learning_rate,
            "positives": len(targets.boxes),
            "loss_seconds": loss_time.seconds,
            **measured,
        }


def train(
    trainer: Trainer,
    batches: Callable[[int], Collection[TrainingBatch]],
    epochs: int,
    evaluate: Callable[[], dict[str, float]],
    evaluate_every: int,
    checkpoint: Path,
    tracker: Tracker,
    name: str,
) -> dict[str, float]:
    """Trains, evaluates and logs from the last checkpoint to the end, with a checkpoint after each epoch.

    Args:
        batches: takes the epoch, from 0, and gives its batches.
        evaluate: the metrics of the model as it is; asked every `evaluate_every` epochs and at the end.
        name: shown before the progress bar.

    Returns:
        The metrics at the end.

    Raises:
        NonFiniteLoss: naming the step; the checkpoint is that of the last whole epoch.
    """
    progress = load_checkpoint(checkpoint, trainer.parts()) or {"epoch": 0, "step": 0, "metrics": {}}
    tracker.step = progress["step"]
    if progress["metrics"]:
        tracker.log(progress["metrics"])  # in case the process was killed before W&B had written them
    steps_in_epoch = len(batches(epoch=0))
    with tqdm(total=epochs * steps_in_epoch, initial=tracker.step, desc=name, unit="step", smoothing=0.05) as bar:
        for epoch in range(progress["epoch"], epochs):
            begun = time.perf_counter()
            for batch in batches(epoch=epoch):
                try:
                    values = trainer.step(batch)
                except NonFiniteLoss as error:
                    raise NonFiniteLoss(f"step {tracker.step + 1}: {error}. Last whole epoch: {checkpoint}") from None
                tracker.step += 1
                seconds, begun = time.perf_counter() - begun, time.perf_counter()
                speed = {"iteration_seconds": seconds, "images_per_second": len(batch.images) / seconds}
                tracker.log({**values, **speed, "epoch": epoch})
                bar.set_postfix(loss=f"{values['loss']:.3f}", AP=_shown(progress["metrics"]), refresh=False)
                bar.update()
            metrics = progress["metrics"]
            if (epoch + 1) % evaluate_every == 0 or epoch + 1 == epochs:
                metrics = evaluate()
                tracker.log(metrics)
            progress = {"epoch": epoch + 1, "step": tracker.step, "metrics": metrics}
            save_checkpoint(checkpoint, trainer.parts(), progress)
            bar.set_postfix(AP=_shown(metrics))
    return progress["metrics"]


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
        precision, clip_gradient, log_ap_loss,
    )  # fmt: skip


def learning_rate_factor(step: int, steps: int, warmup_iterations: int, decay_at: list[float]) -> float:
    """Linear warm-up from one third, then a division by 10 at each part of `decay_at` of the training."""
    warmup = min(step / warmup_iterations, 1) if warmup_iterations else 1
    return (1 + 2 * warmup) / 3 * 0.1 ** sum(step >= part * steps for part in decay_at)


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is a GPU if there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
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
