"""The scores of anchors against their IoU with the ground truth (Fig. 7)."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torchvision.ops import box_iou

from src.data.records import ImageRecord
from src.detectors.postprocess import ImageOutputs

BINS = 50  # of IoU and of score, each from 0 to 1; the IoU thresholds of the targets, 0.4 and 0.5, are bin edges


def add_anchor_scores(
    outputs: Iterable[ImageOutputs], records: list[ImageRecord], counts: Tensor
) -> Iterator[ImageOutputs]:
    """Yield outputs unchanged, and count the anchors by IoU with their matched ground truth and score for its class.

    An anchor's matched ground truth is the one with the highest IoU. If several have that IoU (as all of an image do
    when the anchor overlaps none), it is the one for whose class the anchor scores highest. Images without ground
    truth, and difficult and crowd objects, are left out.

    Args:
        outputs: of the detector for each image.
        records: the data set.
        counts: int64 [50, 50], to which the numbers of anchors are added: bins of IoU, then bins of score, both from 0
            to 1; a bin includes its lower edge.
    """
    for image in outputs:
        if (bins := _bins(image, records[image.index])) is not None:
            counts += torch.bincount(bins, minlength=BINS * BINS).cpu().reshape(BINS, BINS)
        yield image


@torch.inference_mode()
def _bins(image: ImageOutputs, record: ImageRecord) -> Tensor | None:
    """Return each anchor's bin as a flat index, int64 [A]; None for an image without objects."""
    boxes, labels = record.training_objects(image.size)
    if not len(boxes):
        return None
    anchors = torch.cat(image.anchors)
    iou = box_iou(anchors, boxes.to(anchors.device))  # [A, N]
    best = iou.amax(1, keepdim=True)
    score = image.scores[:, labels.to(anchors.device)].masked_fill(iou < best, 0).amax(1)  # [A, N] -> [A]
    bins = [(x.double() * BINS).long().clamp(0, BINS - 1) for x in (best.squeeze(1), score)]
    return bins[0] * BINS + bins[1]
