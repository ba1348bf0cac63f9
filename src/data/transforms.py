"""Augmentation for training, and resizing for tests, from torchvision's transforms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad
from torchvision import tv_tensors
from torchvision.transforms import v2

PAD_TO = 32  # pixels, the stride of the backbone's coarsest map


@dataclass(frozen=True)
class Normalisation:
    """What a network's input is: RGB values in [0, 1], minus a mean and divided by a standard deviation."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # of torchvision's pretrained backbones


def training_transform(size: int, augmentation: str, normalisation: Normalisation = IMAGENET) -> v2.Transform:
    """Build the training transform: the image is augmented, then warped to size × size pixels.

    Args:
        size: of the training images in pixels.
        augmentation: "ssd" for photometric distortion, expansion, crops by IoU and mirroring (Section 4.1.1, [2]);
            "scale_jitter" for :class:`ScaleJitter` and mirroring, an eighth of the work; or "flip" for mirroring alone.
        normalisation: of the network's input; its mean is also the colour around an expanded image.
    """
    augment: list[v2.Transform] = []
    fill = [round(255 * m) for m in normalisation.mean]
    if augmentation == "ssd":
        augment = [
            v2.RandomPhotometricDistort(p=0.5),
            v2.RandomZoomOut(fill=fill, side_range=(1, 4), p=0.5),
            _IoUCrop(),
            v2.SanitizeBoundingBoxes(),
        ]
    elif augmentation == "scale_jitter":
        augment = [ScaleJitter(fill)]
    return v2.Compose(
        [*augment, v2.RandomHorizontalFlip(0.5), v2.Resize((size, size), antialias=True), v2.SanitizeBoundingBoxes()]
        + _normalise(normalisation)
    )


def inference_transform(
    size: int, shorter_side: int | None, longer_side: int, normalisation: Normalisation = IMAGENET
) -> v2.Transform:
    """Build the test transform, which resizes an image and keeps its aspect ratio.

    Args:
        size: of the training images in pixels.
        shorter_side: of a resized image in pixels, or None to warp images to size × size as in training, as SSD does.
        longer_side: the most pixels that the longer side may have; the shorter side is smaller where this binds.
        normalisation: of the network's input.
    """
    return v2.Compose([inference_resize(size, shorter_side, longer_side), *_normalise(normalisation)])


def inference_resize(size: int, shorter_side: int | None, longer_side: int) -> v2.Transform:
    """Build the part of the test transform that resizes; arguments as for :func:`inference_transform`."""
    return v2.Resize((size, size), antialias=True) if shorter_side is None else _Resize(shorter_side, longer_side)


@dataclass(frozen=True)
class View:
    """A way in which the network sees a test image."""

    transform: v2.Transform
    mirrored: bool = False


def inference_views(
    test_size: tuple[int, int | None, int],
    normalisation: Normalisation = IMAGENET,
    *,
    scales: Sequence[int] | None = None,
    mirror: bool = False,
) -> list[View]:
    """Return the views of test images: one for each scale, followed by its mirror image if they are wanted.

    Args:
        test_size: the first three arguments of :func:`inference_transform`, for a single scale.
        normalisation: of the network's input.
        scales: shorter sides of the views, or sides of the squares to which images are warped, in pixels; the limit of
            the longer side is in proportion. None: that of `test_size` alone.
        mirror: whether each view is followed by its mirror image.
    """
    size, shorter_side, longer_side = test_size
    if scales is None:
        sizes = [test_size]
    elif shorter_side is None:
        sizes = [(scale, None, longer_side) for scale in scales]
    else:
        sizes = [(size, scale, round(longer_side * scale / shorter_side)) for scale in scales]
    views = []
    for one in sizes:
        transform = inference_transform(*one, normalisation)
        views.append(View(transform))
        if mirror:
            views.append(View(v2.Compose([transform, v2.RandomHorizontalFlip(1.0)]), mirrored=True))
    return views


class ScaleJitter(v2.Transform):
    """Take a random window of an image, smaller or larger than it, in which objects become larger or smaller.

    Height and width of the window are those of the image, times a factor that both share and one by which their ratio
    varies. A window larger than the image holds all of it, at a random place, with `fill` around it. Objects whose
    centre is outside become empty, for `SanitizeBoundingBoxes` to remove; of others the part outside is cut off.

    Only what is in the window is ever resized, so that this costs little more than to warp the image. torchvision's
    transform of the same name resizes the image first.

    Args:
        fill: RGB values from 0 to 255.
    """

    SIDES = (0.6, 1.35)  # the range of the shared factor, which is uniform in its logarithm
    STRETCH = 1.16  # the largest factor on the ratio of height and width, either way

    def __init__(self, fill: Sequence[int]) -> None:
        super().__init__()
        self.fill = list(fill)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Choose the window: its top, left, height and width in pixels of the image."""
        height, width = v2.functional.get_size(flat_inputs[0])
        low, high, most = *map(math.log, self.SIDES), math.log(self.STRETCH)
        for_side, for_ratio, down, across = torch.rand(4).tolist()
        side, ratio = low + for_side * (high - low), (2 * for_ratio - 1) * most
        tall = max(round(height * math.exp(side + ratio / 2)), 1)
        wide = max(round(width * math.exp(side - ratio / 2)), 1)
        return {
            "top": round(down * (height - tall)),
            "left": round(across * (width - wide)),
            "height": tall,
            "width": wide,
        }

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Cut the window out of an image, or of its boxes in the format XYXY."""
        if isinstance(inpt, tv_tensors.BoundingBoxes):
            window = v2.functional.crop(inpt, **params)
            centres = (inpt[:, :2] + inpt[:, 2:]).as_subclass(torch.Tensor) / 2
            start = torch.tensor([params["left"], params["top"]])
            end = start + torch.tensor([params["width"], params["height"]])
            window[((centres < start) | (centres > end)).any(1)] = 0
            return window
        height, width = v2.functional.get_size(inpt)
        top, left = params["top"], params["left"]
        bottom, right = top + params["height"], left + params["width"]
        outside = [max(-left, 0), max(-top, 0), max(right - width, 0), max(bottom - height, 0)]
        padded = v2.functional.pad(inpt, outside, fill=self.fill)
        return v2.functional.crop(padded, max(top, 0), max(left, 0), params["height"], params["width"])


class _IoUCrop(v2.RandomIoUCrop):
    """Crop as torchvision does, but leave images alone that are so small that a crop might have no pixel."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        if min(v2.functional.get_size(flat_inputs[0])) * self.min_scale < 1:
            return {}
        return super().make_params(flat_inputs)


class _Resize(v2.Transform):
    """Resize an image as `v2.Resize(shorter_side, max_size=longer_side)` does, but never to a side of 0 pixels."""

    def __init__(self, shorter_side: int, longer_side: int) -> None:
        super().__init__()
        self.shorter_side, self.longer_side = shorter_side, longer_side

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        height, width = v2.functional.get_size(inpt)
        shorter = self.shorter_side
        longer = int(shorter * max(height, width) / min(height, width))
        if longer > self.longer_side:
            shorter, longer = max(int(self.longer_side * shorter / longer), 1), self.longer_side
        size = [longer, shorter] if width <= height else [shorter, longer]
        return v2.functional.resize(inpt, size, antialias=True)


def _normalise(normalisation: Normalisation) -> list[v2.Transform]:
    return [v2.ToDtype(torch.float32, scale=True), v2.Normalize(normalisation.mean, normalisation.std)]


def pad_image(image: torch.Tensor) -> torch.Tensor:
    """Pad [C, H, W] with zeros at the right and bottom to multiples of 32 pixels."""
    height, width = image.shape[-2:]
    return pad(image, (0, -width % PAD_TO, 0, -height % PAD_TO))


def padded_size(height: int, width: int, transform: v2.Transform) -> tuple[int, int]:
    """Return (height, width) of an image after a test transform and `pad_image`, without computing its pixels."""
    resized = transform(torch.empty(3, height, width, dtype=torch.uint8, device="meta"))
    height, width = resized.shape[-2:]
    return height + -height % PAD_TO, width + -width % PAD_TO
