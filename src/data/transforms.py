"""Augmentation in the manner of SSD for training, and resizing for tests, from torchvision's transforms."""

import torch
from torch.nn.functional import pad
from torchvision.transforms import v2

# Of ImageNet's RGB values in [0, 1], as pretrained backbones expect.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PAD_TO = 32  # pixels, the stride of the backbone's coarsest map


def training_transform(size: int, augmentation: str) -> v2.Transform:
    """Build the training transform: the image is augmented, then warped to size × size pixels.

    Args:
        size: of the training images in pixels.
        augmentation: "ssd" for photometric distortion, expansion, crops by IoU and mirroring (Section 4.1.1, [2]), or
            "flip" for mirroring alone.
    """
    augment: list[v2.Transform] = []
    if augmentation == "ssd":
        augment = [
            v2.RandomPhotometricDistort(p=0.5),
            v2.RandomZoomOut(fill=[round(255 * m) for m in MEAN], side_range=(1, 4), p=0.5),
            v2.RandomIoUCrop(),
            v2.SanitizeBoundingBoxes(),
        ]
    return v2.Compose(
        [*augment, v2.RandomHorizontalFlip(0.5), v2.Resize((size, size), antialias=True), v2.SanitizeBoundingBoxes()]
        + _normalisation()
    )


def inference_transform(size: int, shorter_side: int | None, longer_side: int) -> v2.Transform:
    """Build the test transform, which resizes an image and keeps its aspect ratio.

    Args:
        size: of the training images in pixels.
        shorter_side: of a resized image in pixels, or None to warp images to size × size as in training, as SSD does.
        longer_side: the most pixels that the longer side may have; the shorter side is smaller where this binds.
    """
    if shorter_side is None:
        resize = v2.Resize((size, size), antialias=True)
    else:
        resize = v2.Resize(shorter_side, max_size=longer_side, antialias=True)
    return v2.Compose([resize, *_normalisation()])


def _normalisation() -> list[v2.Transform]:
    return [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]


def pad_image(image: torch.Tensor) -> torch.Tensor:
    """Pad [C, H, W] with zeros at the right and bottom to multiples of 32 pixels."""
    height, width = image.shape[-2:]
    return pad(image, (0, -width % PAD_TO, 0, -height % PAD_TO))


def padded_size(height: int, width: int, transform: v2.Transform) -> tuple[int, int]:
    """Return (height, width) of an image after a test transform and `pad_image`, without computing its pixels."""
    resized = transform(torch.empty(3, height, width, dtype=torch.uint8, device="meta"))
    height, width = resized.shape[-2:]
    return height + -height % PAD_TO, width + -width % PAD_TO
