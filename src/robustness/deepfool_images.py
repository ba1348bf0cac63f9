"""DeepFool on the images of a data set: which images, the result on each, and the means over all."""

import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean, stdev

import torch
from torch import Tensor
from torchvision.transforms import v2

from src.data.images import read_image
from src.data.loading import derive_seed
from src.data.records import ImageRecord
from src.robustness.attacked_detector import AttackedDetector
from src.robustness.deepfool import DeepFoolResult, deepfool

Z_95 = 1.96  # half width of a 95% interval, in standard errors of the mean


def choose_images(records: Sequence[ImageRecord], count: int | None, seed: int) -> list[ImageRecord]:
    """Return a random subset of images, the same for all detectors with one seed; all images if `count` is None."""
    if count is None or count >= len(records):
        return list(records)
    order = torch.randperm(len(records), generator=torch.Generator().manual_seed(derive_seed(seed, "deepfool")))
    return [records[index] for index in order[:count].sort().values.tolist()]


def deepfool_images(
    attacked: AttackedDetector,
    records: Sequence[ImageRecord],
    resize: v2.Transform,
    *,
    threshold: float,
    iterations: int = 50,
    overshoot: float = 0.02,
) -> Iterator[DeepFoolResult]:
    """Yield the result of DeepFool for each image; difficult objects and crowds are ignored.

    Args:
        attacked: the detector.
        records: the images.
        resize: to the size of the network's input, see :func:`src.data.transforms.inference_resize`.
        threshold: see :func:`src.robustness.deepfool.deepfool`.
        iterations: see the same.
        overshoot: see the same.
    """
    for record in records:
        image = resize(read_image(record)).as_subclass(Tensor).float().to(attacked.device)
        objects = record.training_objects((image.shape[1], image.shape[2]))
        yield deepfool(attacked, image, objects, threshold=threshold, iterations=iterations, overshoot=overshoot)


def summarise(results: Iterable[DeepFoolResult]) -> dict[str, float]:
    """Return means over images; NaN where there is nothing to average.

    Returns:
        `images`, and of these `images_changed`, on which an object was lost; `objects` that were detected, and
        `failures` to lose one. `l2`, `rms` and `relative`: means of the smallest perturbation of each image, and
        `l2_low` and `l2_high`, the 95 % interval of the first. `l2_everything`: that of the perturbations that lose
        all objects. `l2_objects` and `margin`: means over objects of the perturbation and of the margin before it.
    """
    results = list(results)
    objects = [one for result in results for one in result.objects]
    smallest = [result.smallest for result in results if result.smallest is not None]
    everything = [one for result in results if (one := result.everything) is not None and one.image is not None]
    l2 = [one.l2 for one in smallest]
    error = Z_95 * stdev(l2) / math.sqrt(len(l2)) if len(l2) > 1 else math.nan
    return {
        "images": len(results),
        "images_changed": len(smallest),
        "objects": len(objects),
        "failures": sum(one.image is None for one in objects),
        "l2": _mean(l2),
        "l2_low": _mean(l2) - error,
        "l2_high": _mean(l2) + error,
        "rms": _mean([one.rms for one in smallest]),
        "relative": _mean([one.relative for one in smallest]),
        "l2_everything": _mean([one.l2 for one in everything]),
        "l2_objects": _mean([one.l2 for one in objects if one.image is not None]),
        "margin": _mean([one.margin for one in objects]),
    }


def _mean(values: list[float]) -> float:
    return fmean(values) if values else math.nan
