"""A training step: forward pass, loss of the detached logits, and its update propagated backward."""

import math
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from src.data.loading import TrainingBatch
from src.detectors.detector import Detector, check_outputs
from src.detectors.proposals import ignore_others
from src.detectors.targets import Targets, box_loss
from src.losses import LogitsTooLarge, ap_loss
from src.utils.distributed import World
from src.utils.errors import UserError
from src.utils.timing import Stopwatch

AP_LOSS_EVERY = 10  # steps, so that the timings of the other steps are not affected
HOW_TO_CONVERGE = (
    "Try a lower schedule.learning_rate, a longer schedule.warmup_iterations, schedule.clip_gradient=10 or "
    "precision=fp32"
)
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class NonFiniteLoss(UserError):
    """Training diverged."""


@dataclass(frozen=True)
class TrainerOptions:
    """What a training step depends on besides the model and the optimizer."""

    classes: int
    image_size: int  # of the square training images, in pixels
    box_loss_weight: float = 1.0
    precision: str = "fp32"
    clip_gradient: float | None = None
    log_ap_loss: bool = False  # whether to log the true AP-loss at some steps, to compare methods that optimise it
    compile: bool = False  # whether torch.compile compiles the network, for training only
    overlap: bool = False  # whether gradients are summed over processes during the backward pass


class StepValues:
    """The values to log of a step, which a GPU may still be computing.

    Args:
        values: scalars over all processes, among them `loss`, `positives` and `ranked_logits`.
        learning_rate: of the step.
        loss_time: of the classification loss, forward and backward.
    """

    def __init__(self, values: dict[str, Tensor], learning_rate: float, loss_time: Stopwatch):
        values = {name: value.detach() for name, value in values.items()}
        self._values, self._learning_rate, self._loss_time = values, learning_rate, loss_time
        self._arrived = None
        if values["loss"].is_cuda:  # all in one copy, which is complete when the event is
            copied = torch.stack([value.double() for value in values.values()]).to("cpu", non_blocking=True)
            self._values = dict(zip(values, copied, strict=True))
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def read(self) -> dict[str, float]:
        """Return the values by name, after waiting for them.

        Raises:
            NonFiniteLoss: naming the learning rate.
        """
        if self._arrived is not None:
            self._arrived.synchronize()
        values = {name: float(value) for name, value in self._values.items()}
        if not math.isfinite(values["loss"]):
            raise NonFiniteLoss(
                f"the loss is {values['loss']} with learning rate {self._learning_rate:.3g}. {HOW_TO_CONVERGE}"
            )
        ranked, positives = int(values.pop("ranked_logits")), int(values.pop("positives"))
        counts: dict[str, float] = {"ranked_logits": ranked, "positives": positives, "negatives": ranked - positives}
        if positives:
            counts["imbalance"] = (ranked - positives) / positives
        true_ap_loss = {name: values.pop(name) for name in ("ap_loss",) if name in values}
        rate, seconds = {"learning_rate": self._learning_rate}, {"loss_seconds": self._loss_time.seconds}
        return {**values, **rate, **counts, **seconds, **true_ap_loss}


@dataclass
class Trainer:
    """All that a training step needs.

    Attributes:
        detector: its anchors are matched with the objects.
        model: its network: images [B, 3, H, W] to logits [B, A, K] (or K + 1) and box offsets [B, A, 4].
        classification_loss: logits and targets [B, A, K] to a scalar. With several processes it returns the value
            over all of them, and its gradient is this process's part of a sum.
        propose: from images to which of their anchors are ranked besides the positive ones, bool [B, A]; None: all.
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
        if self.scaler.is_enabled():  # which skips the steps that overflow; for the schedule they are steps
            warnings.filterwarnings("ignore", r"Detected call of `lr_scheduler\.step\(\)` before")
        size = self.options.image_size
        self.anchors = torch.cat(self.detector.anchors(size, size, self.device))
        # On a GPU the host would wait for the number of positive anchors; under torch.compile the graph would break.
        self.selects_boxes = self.detector.selects_boxes and self.device.type == "cpu" and not self.options.compile
        network = self.model
        if self.options.overlap:
            network = self.world.with_overlap(network)
        self.forward: Callable[..., Any] = torch.compile(network) if self.options.compile else network

    def parts(self) -> dict[str, Any]:
        """Return what a checkpoint must hold for training to resume as if it had not been interrupted."""
        return {
            "model": self.model,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "scaler": self.scaler,
        }

    def step(self, batch: TrainingBatch) -> StepValues:
        """Train on this process's part of a batch, and return the values to log for the whole batch.

        This does not wait for a GPU, so the weights are updated even if the loss turns out not to be finite.

        Args:
            batch: on the device.

        Raises:
            NonFiniteLoss: the scores are too large to be ranked; it names the learning rate.
        """
        self.model.train()
        learning_rate = self.optimizer.param_groups[0]["lr"]
        images = batch.images.contiguous(memory_format=torch.channels_last)
        targets = self.targets(images, batch)
        own_positives = targets.positive.sum().float()
        positives = self.world.all_reduce_sum(own_positives)
        with autocast(self.device, self.options.precision):
            logits, offsets = self.forward(images, targets.positive) if self.selects_boxes else self.forward(images)
            check_outputs(logits, offsets, images=len(images), anchors=len(self.anchors))
            localisation = box_loss(offsets, self.anchors, targets)
            # Not a division, which would round differently than earlier versions.
            localisation = localisation * (own_positives * positives.clamp(min=1).reciprocal())
        with Stopwatch(self.device) as loss_time:
            scores = logits.detach().requires_grad_()
            try:
                classification = self.classification_loss(scores, targets.classes)
            except LogitsTooLarge as error:
                reason = f"the loss cannot be computed with learning rate {learning_rate:.3g}"
                raise NonFiniteLoss(f"{reason}: {error}. {HOW_TO_CONVERGE}") from None
            self.scaler.scale(classification).backward()

        box = self.world.all_reduce_sum(localisation)
        values = {
            "loss": classification + self.options.box_loss_weight * box,
            "classification_loss": classification,
            "box_loss": box,
            "positives": positives,
            "ranked_logits": self.world.all_reduce_sum((targets.classes >= 0).sum()),
        }
        if self.options.log_ap_loss and self.scheduler.last_epoch % AP_LOSS_EVERY == 0:
            values["ap_loss"] = self._true_ap_loss(scores, targets.classes)
        logged = StepValues(values, learning_rate, loss_time)
        self.update_weights(logits, scores.grad, self.options.box_loss_weight * localisation)
        return logged

    def targets(self, images: Tensor, batch: TrainingBatch) -> Targets:
        """Return the targets of a batch's anchors; with proposals, all other negatives are ignored."""
        classes = self.options.classes
        targets = self.detector.assign_targets(self.anchors, batch.boxes, batch.labels, classes=classes)
        return targets if self.propose is None else ignore_others(targets, self.propose(images))

    @torch.no_grad()
    def _true_ap_loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Return 1 − AP of the batch (Equation 5 with the Heaviside step function)."""
        return ap_loss(scores, targets, step="heaviside", interpolated=False, process_group=self.world.group)

    def update_weights(self, logits: Tensor, logits_gradient: Tensor | None, weighted_box_loss: Tensor) -> None:
        """Backpropagate the update of the logits and the gradient of the box loss, and step the optimizer."""
        self.optimizer.zero_grad()
        torch.autograd.backward([logits, self.scaler.scale(weighted_box_loss)], [logits_gradient, None])
        if not self.options.overlap:
            self.world.sum_gradients(self.model)
        if self.options.clip_gradient is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip_gradient)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Return the context of automatic mixed precision; an empty one for fp32."""
    dtype = PRECISIONS[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)
