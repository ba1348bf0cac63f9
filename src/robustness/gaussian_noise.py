"""Gaussian noise on every pixel (Table 3)."""

import torch
from torch import Tensor


def gaussian_noise(image: Tensor, boxes: Tensor, generator: torch.Generator, *, standard_deviation: float) -> Tensor:
    """Return an image with normal noise added, rounded to 8 bits.

    torchvision's `GaussianNoise` truncates uint8 images, which makes them darker, and uses torch's global generator.

    Args:
        image: uint8 [3, H, W].
        boxes: not used.
        generator: of the noise.
        standard_deviation: on pixel values from 0 to 1.
    """
    noise = torch.randn(image.shape, generator=generator)
    return (image.float() + 255 * standard_deviation * noise).round().clamp(0, 255).to(torch.uint8)
