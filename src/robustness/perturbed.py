"""Reading test images perturbed: each as uint8 in its own coordinates, before it is resized for a detector."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors

from src.config.registry import ATTACKS
from src.data.images import read_image
from src.data.loading import derive_seed
from src.data.records import ImageRecord


@dataclass(frozen=True)
class PerturbedImages:
    """Read images perturbed.

    What an image becomes depends on the seed and the image's id alone: neither on the detector, nor on batches, workers
    and processes.

    Attributes:
        perturb: takes an image, uint8 [3, H, W], the boxes [N, 4] of its objects, and a generator of random numbers;
            returns an image of the same kind and size.
        seed: of the random numbers.
        difficult: whether `perturb` is given difficult objects too, which evaluation ignores.
    """

    perturb: Callable[[Tensor, Tensor, torch.Generator], Tensor]
    seed: int
    difficult: bool = False

    def __call__(self, record: ImageRecord) -> tv_tensors.Image:
        """Return an image perturbed.

        Raises:
            DataError: see :func:`src.data.images.read_image`.
        """
        image = read_image(record).as_subclass(Tensor)
        boxes = record.boxes[~record.crowd if self.difficult else ~(record.crowd | record.difficult)]
        generator = torch.Generator().manual_seed(derive_seed(self.seed, record.image_id))
        return tv_tensors.Image(self.perturb(image, boxes, generator))


def build_perturbed_images(attack: Mapping[str, Any], seed: int) -> PerturbedImages:
    """Build the reader of images under an attack.

    Args:
        attack: the keys of the group `attack`.
        seed: of the run.
    """
    path = ATTACKS[attack["name"]].perturbation
    assert path is not None
    module, _, function = path.rpartition(".")
    options = {option: attack[option] for option in ATTACKS[attack["name"]].own_options}
    difficult = options.pop("difficult", False)
    return PerturbedImages(partial(getattr(importlib.import_module(module), function), **options), seed, difficult)
