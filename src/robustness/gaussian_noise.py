"""Gaussian noise on every pixel (Table 3)."""

import torch
from torch import Tensor


def gaussian_noise(image: Tensor, boxes: Tensor, generator: torch.Generator, *, standard_deviation: float) -> Tensor:
    """Add normal noise to an image, and round to 8 bits.

    torchvision's `GaussianNoise` truncates uint8 images, which makes them darker, and takes torch's own random numbers.

    Args:
        image: uint8 [3, H, W].
        boxes: not used.
        generator: of the noise.
        standard_deviation: on pixel values from 0 to 1.
    """
    noise = torch.randn(image.shape, generator=generator)
    return (image.float() + 255 * standard_deviation * noise).round().clamp(0, 255).to(torch.uint8)
