"""The universal adversarial patch of Brown et al. (2017), made against a detector.

One patch for all images and objects, optimised over random places, sizes, rotations and brightness. Brown et al. raise
the score of one class of a classifier. Here the patch raises, on each object, the scores of all other classes above
that of the object's own.

By default a patch is made against a detector other than the one under test, as the paper's numbers suggest: its patch
costs less AP than a black one. A patch made against the detector under test is a white-box attack.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from src.data.loading import TrainingBatch, derive_seed
from src.robustness.attacked_detector import AttackedDetector
from src.robustness.patches import clip_rectangles, patch_rectangles


@dataclass(frozen=True)
class PatchOptions:
    """How a patch is made. The ranges are those of uniform random deviations from how `adversarial_patch` pastes it."""

    side: int = 64  # of the patch in pixels
    size: str = "quarter"  # see `patch_rectangles`
    learning_rate: float = 0.03  # of Adam, for values from 0 to 1
    shift: float = 0.1  # of the centre, at most this fraction of the box's width and height
    scale: float = 0.2  # of width and height, by a factor from 1 − scale to 1 + scale
    rotation: float = 20.0  # degrees, at most
    brightness: float = 0.1  # added or subtracted, at most this fraction of the range of values


class PatchMaker:
    """Makes a patch, step by step. Its state is all that is needed to resume, as random numbers depend on the step.

    Args:
        attacked: the detector.
        options: of the patch.
        seed: of all random numbers.
    """

    def __init__(self, attacked: AttackedDetector, options: PatchOptions = PatchOptions(), *, seed: int) -> None:
        self.attacked, self.options, self.seed = attacked, options, seed
        self.steps, self.loss = 0, float("nan")
        generator = torch.Generator().manual_seed(derive_seed(seed))
        start = torch.rand(3, options.side, options.side, generator=generator)
        # Pasting is done on the CPU: on a GPU neither resizing nor rotating has a deterministic gradient.
        self._values = start.requires_grad_()
        self._optimizer = torch.optim.Adam([self._values], lr=options.learning_rate)

    @property
    def patch(self) -> Tensor:
        """The patch as it is now, uint8 [3, side, side]."""
        return (self._values.detach() * 255).round().to(torch.uint8)

    def step(self, batch: TrainingBatch) -> float:
        """Take one optimisation step on a batch and return the loss; NaN if no predicted box is on an object."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, self.steps))
        self.steps += 1
        grey_levels = self._grey_levels(batch.images)
        images = [self._paste(*one, generator) for one in zip(grey_levels, batch.boxes, strict=True)]
        loss = self._mean_margin(torch.stack(images).to(self.attacked.device), batch)
        if loss is None:
            self.loss = float("nan")
            return self.loss
        (self._values.grad,) = torch.autograd.grad(loss, [self._values])
        self._optimizer.step()
        with torch.no_grad():
            self._values.clamp_(0, 1)
        self.loss = loss.item()
        return self.loss

    def state_dict(self) -> dict[str, Any]:
        """Return all that a new maker of the same arguments needs to continue."""
        values = self._values.detach().clone()
        return {
            "steps": self.steps,
            "loss": self.loss,
            "values": values,
            "optimizer": self._optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.steps, self.loss = state["steps"], state.get("loss", float("nan"))  # earlier versions kept none
        self._optimizer.load_state_dict(state["optimizer"])
        with torch.no_grad():
            self._values.copy_(state["values"])

    def _mean_margin(self, images: Tensor, batch: TrainingBatch) -> Tensor | None:
        """Return by how much the log-odds of an object's class exceed those of all others, averaged over objects.

        A soft maximum is taken over the predicted boxes on an object; objects without any do not count. Unlike scores,
        log-odds keep their slope near 0 and 1.

        Args:
            images: in grey levels [B, 3, H, W], with patches.
            batch: the same images without patches.
        """
        logits, offsets = self.attacked.outputs(images)
        margins = []
        for row, (boxes, labels) in enumerate(zip(batch.boxes, batch.labels, strict=True)):
            on_objects = self.attacked.anchors_on(boxes, offsets[row], (images.shape[2], images.shape[3]))
            for anchors, label in zip(on_objects, labels.tolist(), strict=True):
                if anchors.any():
                    by_class = self.attacked.log_odds(logits[row][anchors]).logsumexp(0)
                    others = torch.cat([by_class[:label], by_class[label + 1 :]])
                    margins.append(by_class[label] - (others.logsumexp(0) if len(others) else 0))
        return torch.stack(margins).mean() if margins else None

    def _grey_levels(self, images: Tensor) -> Tensor:
        """Undo the normalisation of images [B, 3, H, W]; return grey levels from 0 to 255."""
        normalisation = self.attacked.detector.normalisation
        mean, std = (images.new_tensor(values)[:, None, None] for values in (normalisation.mean, normalisation.std))
        return (images * std + mean) * 255

    def _paste(self, image: Tensor, boxes: Tensor, generator: torch.Generator) -> Tensor:
        """Return an image in grey levels with the patch over each object, with random deviations."""
        options = self.options
        image = image.clone()
        rectangles = patch_rectangles(boxes, generator, size=options.size, place="centre")
        for box, (x1, y1, x2, y2) in zip(boxes.tolist(), rectangles, strict=True):
            right, down, scale, turn, light = (2 * torch.rand(5, generator=generator) - 1).tolist()
            factor = 1 + options.scale * scale
            width, height = max(round((x2 - x1) * factor), 1), max(round((y2 - y1) * factor), 1)
            x = round((x1 + x2 - width) / 2 + options.shift * right * (box[2] - box[0]))
            y = round((y1 + y2 - height) / 2 + options.shift * down * (box[3] - box[1]))
            piece = _resized(self._values, (height, width)) + options.brightness * light
            piece = torch.cat([255 * piece.clamp(0, 1), torch.ones_like(piece[:1])])
            piece = transforms.rotate(piece, options.rotation * turn, InterpolationMode.BILINEAR)
            (inside,) = clip_rectangles([[x, y, x + width, y + height]], (image.shape[1], image.shape[2]))
            rows, columns = slice(inside[1], inside[3]), slice(inside[0], inside[2])
            piece = piece[:, inside[1] - y : inside[3] - y, inside[0] - x : inside[2] - x]
            below = image[:, rows, columns].clone()  # autograd needs it after another patch has been put over it
            image[:, rows, columns] = piece[:3] + (1 - piece[3:]) * below
        return image


def make_patch(
    maker: PatchMaker, batches: Callable[[int, int], DataLoader[TrainingBatch]], steps: int
) -> Iterator[float]:
    """Take steps until a maker has taken `steps` in total, and yield the loss of each.

    Args:
        maker: new, or with the state of an interrupted one.
        batches: takes an epoch and a number, and returns the batches of that epoch after that many.
        steps: in all.
    """
    per_epoch = len(batches(0, 0))
    while maker.steps < steps:
        epoch, skip = divmod(maker.steps, per_epoch)
        for batch in batches(epoch, skip):
            if maker.steps == steps:
                return
            yield maker.step(batch)


def adversarial_patch(
    image: Tensor,
    boxes: Tensor,
    generator: torch.Generator,
    *,
    patch: Tensor,
    size: str = "quarter",
    place: str = "centre",
) -> Tensor:
    """Return an image with a patch over each object, resized as `size` says.

    Args:
        image: uint8 [3, H, W]; it is left as it is.
        boxes: float [n, 4] of the objects, in pixels of the image.
        generator: of :func:`src.robustness.patches.image_generator`.
        patch: uint8 [3, S, S].
        size: see :func:`src.robustness.patches.patch_rectangles`.
        place: see the same.
    """
    result = image.clone()
    for rectangle in patch_rectangles(boxes, generator, size=size, place=place):
        x1, y1, x2, y2 = rectangle
        # Not as uint8, which torch cannot resize to a single pixel.
        piece = _resized(patch.float(), (y2 - y1, x2 - x1)).round().to(torch.uint8)
        ((left, top, right, bottom),) = clip_rectangles([rectangle], (image.shape[1], image.shape[2]))
        result[:, top:bottom, left:right] = piece[:, top - y1 : bottom - y1, left - x1 : right - x1]
    return result


def _resized(patch: Tensor, size: tuple[int, int]) -> Tensor:
    return transforms.resize(patch, list(size), antialias=True)
