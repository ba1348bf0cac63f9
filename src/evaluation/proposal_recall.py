"""The recall of an RPN's proposals, compared with as many random anchors."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from src.data.records import ImageRecord
from src.detectors.postprocess import ImageOutputs
from src.detectors.proposals import top_anchors
from src.detectors.targets import POSITIVE_IOU


@dataclass(frozen=True)
class Recall:
    """The share of objects reached by some anchor, from 0 to 1, for three choices of anchors."""

    proposals: float  # anchors of highest objectness
    random: float  # as many, chosen at random
    all: float  # all anchors


@torch.inference_mode()
def proposal_recall(
    outputs: Iterable[ImageOutputs], records: list[ImageRecord], counts: Sequence[int]
) -> Mapping[int, Recall]:
    """Return the recall over the objects of all images, by number of proposals; NaN if there are no objects.

    Difficult and crowd objects are left out.

    Args:
        outputs: of the RPN for each image.
        records: the data set.
        counts: of proposals in each image.
    """
    generator = torch.Generator().manual_seed(0)
    reached = torch.zeros(len(counts), 3)
    objects = 0
    for image in outputs:
        record = records[image.index]
        boxes, _ = record.training_objects()
        height, width = image.size
        zoom = torch.tensor([width / record.width, height / record.height] * 2)
        reaches = box_iou(torch.cat(image.anchors).cpu(), boxes * zoom) >= POSITIVE_IOU  # [A, N]
        objectness = image.scores[:, 0].cpu()
        noise = torch.rand(len(objectness), generator=generator)
        for row, count in enumerate(counts):
            choices = top_anchors(objectness, count), top_anchors(noise, count), slice(None)
            reached[row] += torch.stack([_objects_reached(reaches[choice]) for choice in choices])
        objects += len(boxes)
    shares = (reached.double() / objects).tolist()
    return {count: Recall(*of_count) for count, of_count in zip(counts, shares, strict=True)}


def _objects_reached(reaches: Tensor) -> Tensor:
    """Return how many objects some of these anchors reach, of bool [anchors, objects]."""
    return reaches.any(0).sum()
