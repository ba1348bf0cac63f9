"""Read perturbed test images: each is perturbed as uint8 at its original size, before it is resized for a detector."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors

from src.config.registry import ATTACKS
from src.data.images import read_image
from src.data.records import ImageRecord
from src.robustness.patches import boxes_to_patch, image_generator


@dataclass(frozen=True)
class PerturbedImages:
    """Reads images and perturbs them.

    The result depends only on the seed and the image's id, not on the detector, batches, workers or processes.

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
        """Return a perturbed image.

        Raises:
            DataError: see :func:`src.data.images.read_image`.
        """
        image = read_image(record).as_subclass(Tensor)
        boxes = boxes_to_patch(record, difficult=self.difficult)
        return tv_tensors.Image(self.perturb(image, boxes, image_generator(self.seed, record.image_id)))


def build_perturbed_images(attack: Mapping[str, Any], seed: int, **made: Any) -> PerturbedImages:
    """Build the reader of images under an attack.

    Args:
        attack: the keys of the group `attack`.
        seed: of the run.
        made: further arguments of the perturbation, which other runs have made.
    """
    path = ATTACKS[attack["name"]].perturbation
    assert path is not None
    module, _, name = path.rpartition(".")
    function = getattr(importlib.import_module(module), name)
    options = {key: attack[key] for key in inspect.signature(function).parameters if key in attack}
    return PerturbedImages(partial(function, **options, **made), seed, attack.get("difficult", False))
