"""Oddities in the images of a run, by file: in their boxes and in their pixels."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_area, box_iou
from tqdm import tqdm

from src.data.images import read_header, read_image
from src.data.records import DataError, ImageRecord
from src.detectors.targets import POSITIVE_IOU
from src.evaluation.inspection import DetectorView, SplitView

DARK = 8  # mean of all pixel values, out of 255
CONSTANT = 2  # range between the darkest and the brightest value, out of 255
WHOLE_IMAGE = 0.98  # of its area


@dataclass(frozen=True)
class Oddity:
    """Something odd, and the files in which it is."""

    what: str
    count: int  # of boxes or images
    files: list[str]  # each once


def odd_boxes(split: SplitView, view: DetectorView) -> list[Oddity]:
    """Return what is odd about the boxes of a split that count, in the image warped to the training size."""
    side = (split.boxes[:, 2:] - split.boxes[:, :2]).amin(1)
    longer = (split.boxes[:, 2:] - split.boxes[:, :2]).amax(1)
    size = f"at {view.train_size} × {view.train_size} pixels"
    whole = box_area(split.boxes) >= WHOLE_IMAGE * view.train_size**2
    same_class, other_class = _duplicates(split)
    masks = {
        f"boxes less than 1 pixel wide or high {size}, which training drops": split.dropped(),
        f"boxes of 1 to 2 pixels {size}": (side >= 1) & (side < 2),
        f"boxes of 2 to 8 pixels {size}, where 8 is the smallest stride": (side >= 2) & (side < 8),
        "boxes that cover the whole image": whole,
        f"boxes longer than {view.longest_ratio:g} : 1 {size}, with which no anchor has IoU {POSITIVE_IOU}": longer
        > view.longest_ratio * side,
        "boxes that repeat another of their class in the same image": same_class,
        "boxes that repeat one of another class in the same image": other_class,
    }
    found = [(what, mask & split.counts) for what, mask in masks.items()]
    return [Oddity(what, int(mask.sum()), split.names(mask)) for what, mask in found if mask.any()]


def _duplicates(split: SplitView) -> tuple[Tensor, Tensor]:
    """Return which boxes equal an earlier one of their class, and which one of another class, in the same image."""
    by_box = torch.cat([split.image[:, None].double(), split.boxes.double()], 1)
    by_class = torch.cat([by_box, split.labels[:, None].double()], 1)
    same_class = _repeated(by_class)
    return same_class, _repeated(by_box) & ~same_class


def _repeated(rows: Tensor) -> Tensor:
    """Return which rows equal an earlier one, bool [N]."""
    if not len(rows):
        return torch.zeros(0, dtype=torch.bool)
    group = rows.unique(dim=0, return_inverse=True)[1]
    first = torch.full((int(group.max()) + 1,), len(rows)).scatter_reduce(0, group, torch.arange(len(rows)), "amin")
    return first[group] != torch.arange(len(rows))


def without_anchors(split: SplitView, view: DetectorView) -> Oddity | None:
    """Return the objects without a positive anchor, because other objects overlap more with all anchors that fit them.

    The detector's matching is run only on images in which an object's closest anchor fits another object better.
    """
    anchors = torch.cat(view.detector.anchors(view.train_size, view.train_size))
    bounds = torch.searchsorted(split.image, torch.arange(len(split.records) + 1)).tolist()
    count, files = 0, []
    for record, start, stop in zip(split.records, bounds[:-1], bounds[1:], strict=True):
        counted = split.counts[start:stop]
        boxes, closest = split.boxes[start:stop][counted], split.closest[start:stop][counted]
        order = torch.arange(len(boxes))
        if len(boxes) < 2 or torch.equal(box_iou(boxes, closest).argmax(0), order):
            continue
        # With a class for each object, the positive anchors of a class are those of the object.
        targets = view.detector.assign_targets(anchors, [boxes], [order], classes=len(boxes))
        alone = int((~(targets.classes[0] == 1).any(0)).sum())
        count += alone
        files += [record.path.name] * (alone > 0)
    what = "objects without any positive anchor, as other objects overlap more with those that fit"
    return Oddity(what, count, files) if count else None


@dataclass(frozen=True)
class Look:
    """What reading the file of an image has shown."""

    name: str
    digest: str = ""  # of its bytes
    problem: str = ""  # why it cannot be read
    turned: bool = False  # whether an EXIF orientation rotates it
    mean: float = 0.0
    spread: int = 255  # between the darkest and the brightest value


def look_at_images(records: list[ImageRecord], title: str) -> list[Look]:
    """Read the image of each record as training does, and return what was found."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        looks = tqdm(pool.map(_look, records), title, total=len(records), unit="image", disable=None, leave=False)
        return list(looks)


def _look(record: ImageRecord) -> Look:
    name = record.path.name
    try:
        image = read_image(record).as_subclass(Tensor)
        digest = hashlib.blake2b(record.path.read_bytes(), digest_size=16).hexdigest()
        turned = read_header(record.path).orientation != 1
    except (DataError, OSError) as error:
        return Look(name, problem=str(error))
    return Look(name, digest, "", turned, float(image.float().mean()), int(image.max()) - int(image.min()))


def odd_images(looks: list[Look]) -> list[Oddity]:
    """Return what is odd about the images of a split."""
    readable = [look for look in looks if not look.problem]
    groups = {
        "images that cannot be read": [f"{look.name} ({look.problem})" for look in looks if look.problem],
        "images with an EXIF orientation, which viewers turn": [look.name for look in readable if look.turned],
        "images of one colour": [look.name for look in readable if look.spread <= CONSTANT],
        f"very dark images, with a mean below {DARK} of 255": [
            look.name for look in readable if look.mean < DARK and look.spread > CONSTANT
        ],
        "images whose file is the same as another's": _same_files(looks),
    }
    return [Oddity(what, len(names), names) for what, names in groups.items() if names]


def in_both_splits(train: list[Look], test: list[Look]) -> Oddity | None:
    """Return the test images whose file is the same as that of a training image."""
    training_name = {look.digest: look.name for look in train if look.digest}
    names = [f"{look.name} = {training_name[look.digest]}" for look in test if look.digest in training_name]
    return Oddity("test images whose file is that of a training image", len(names), names) if names else None


def _same_files(looks: Iterable[Look]) -> list[str]:
    names = defaultdict(list)
    for look in looks:
        if look.digest:
            names[look.digest].append(look.name)
    return [f"{name} = {same[0]}" for same in names.values() for name in same[1:]]
