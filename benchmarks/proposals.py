"""Measure an RPN's proposals: python -m benchmarks.proposals outputs/ID [--counts 20,75,150,300]

By number of proposals: the recall of the test images' objects, compared with as many random anchors, and the imbalance
in the training images of one epoch. ID is that of the RPN's run, which a run with proposals makes first.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torchvision.ops import box_iou

from src.costs.table import Table
from src.data.records import ImageRecord
from src.detectors.detector import Detector, build_detector
from src.detectors.inference import image_outputs
from src.detectors.postprocess import ImageOutputs
from src.detectors.proposals import ignore_others, objectness_of, top_anchors
from src.detectors.targets import POSITIVE_IOU
from src.training.checkpoint import load_weights
from src.training.data import Data, build_data
from src.utils.device import choose_device
from src.utils.distributed import World

# Of all anchors: what 500, 1000, 2000, 4000 and 8000 are of RetinaNet's 32,736 at 512 × 512.
SHARES = (500 / 32736, 1000 / 32736, 2000 / 32736, 4000 / 32736, 8000 / 32736)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.proposals", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of the RPN's run")
    parser.add_argument(
        "--counts", help="numbers of proposals (default: the shares of all anchors that 500 to 8000 are at 512 × 512)"
    )
    options = parser.parse_args()
    config: DictConfig = OmegaConf.load(options.run / "config.yaml")  # type: ignore[assignment]
    detector = build_detector(config.model, config.dataset.train_size)
    rpn = detector.build_network(1)
    load_weights(options.run, rpn)
    rpn = rpn.eval().to(choose_device(config.device))
    size = config.dataset.train_size
    anchors = sum(len(level) for level in detector.anchors(size, size))
    shares = [round(share * anchors) for share in SHARES]
    counts = [int(count) for count in options.counts.split(",")] if options.counts else shares
    config.dataset.classes_as_one = False  # imbalance is counted with all classes, as in the run with proposals
    data = build_data(config, detector.normalisation, World())
    print(measure(rpn, detector, data, [*counts, anchors]).markdown())


def measure(rpn: nn.Module, detector: Detector, data: Data, counts: list[int]) -> Table:
    """Return a table with a row for each number of proposals."""
    device = next(rpn.parameters()).device
    batches = data.inference_batches(data.test, data.views[0], shared=False)
    recalls = proposal_recall(image_outputs(rpn, detector, batches, device), data.test, counts)
    ranked, positives, images = dict.fromkeys(counts, 0), 0, 0
    for batch in data.training_batches(epoch=0):
        anchors = torch.cat(detector.anchors(*batch.images.shape[-2:]))
        targets = detector.assign_targets(anchors, batch.boxes, batch.labels, classes=len(data.classes))
        positives, images = positives + int(targets.positive.sum()), images + len(batch.images)
        objectness = objectness_of(rpn, batch.images.to(device)).cpu()
        for count in counts:
            proposed = torch.stack([top_anchors(of_image, count) for of_image in objectness])
            ranked[count] += int((ignore_others(targets, proposed).classes >= 0).sum())
    header = ["proposals", "recall", "random anchors", "all anchors", "ranked logits", "|P|", "|N| / |P|"]
    rows = []
    for count, recall in recalls.items():
        shown = [f"{100 * share:.1f}%" for share in (recall.proposals, recall.random, recall.all)]
        imbalance = (ranked[count] - positives) / positives
        per_image = [f"{ranked[count] / images:,.0f}", f"{positives / images:.1f}", f"{imbalance:,.0f}"]
        rows.append([f"{count:,}", *shown, *per_image])
    return Table("Recall of test objects at IoU 0.5; logits of a training image, in the mean of an epoch", header, rows)


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
        boxes, _ = records[image.index].training_objects(image.size)
        reaches = box_iou(torch.cat(image.anchors).cpu(), boxes) >= POSITIVE_IOU  # [A, N]
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


if __name__ == "__main__":
    main()
