"""What the images of a run contain, as its detector sees them: counts, sizes and anchors, from annotations alone."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torchvision.ops import box_area

from src.data.messages import first_names
from src.data.records import DataError, ImageRecord
from src.detectors.anchors import AnchorGrid, closest_anchors
from src.detectors.detector import Detector
from src.detectors.targets import POSITIVE_IOU
from src.utils.text import counted, one_line

SMALL, LARGE = 32**2, 96**2  # square pixels: COCO's limits
SIZES = ("small", "medium", "large")
MOST_CLASSES = 6  # up to which all are listed in one line
FLAGS = {"difficult": "difficult object", "crowd": "crowd"}


@dataclass(frozen=True)
class DetectorView:
    """What decides how the detector of a run sees boxes."""

    classes: list[str]
    train_size: int  # pixels, of the square that training images are warped to
    detector: Detector
    max_detections: int  # kept on an image

    @cached_property
    def grids(self) -> list[AnchorGrid]:
        """The grids of anchors of a training image."""
        return self.detector.grids(self.train_size, self.train_size)

    @cached_property
    def anchor_shapes(self) -> Tensor:
        """The distinct widths and heights of a training image's anchors, float32 [n, 2]."""
        return torch.cat([grid.shapes for grid in self.grids])

    @cached_property
    def longest_ratio(self) -> float:
        """The highest ratio of sides that a box can have if an anchor is to reach IoU 1/2 with it."""
        # At the best size, an anchor of ratio r has IoU 1/2 with a box of ratio 2.25 r, and less with longer ones.
        return round(2.25 * float((self.anchor_shapes.amax(1) / self.anchor_shapes.amin(1)).max()), 3)


@dataclass(frozen=True)
class SplitView:
    """The images of a split, and their N objects in the order of the images."""

    name: str
    records: list[ImageRecord]
    image: Tensor  # int64 [N]: index of the object's image
    boxes: Tensor  # float32 [N, 4]: in pixels of the image warped to the training size, without augmentation
    labels: Tensor  # int64 [N]
    counts: Tensor  # bool [N]: neither difficult nor a crowd, so used in training, or to be found in a test
    iou: Tensor  # float32 [N]: with the anchor that fits best
    closest: Tensor  # float32 [N, 4]: that anchor

    @cached_property
    def objects(self) -> int:
        """The number of objects that count."""
        return int(self.counts.sum())

    def flagged(self, flag: str) -> int:
        """Return the number of objects that are "difficult" or "crowd"."""
        return sum(int(getattr(record, flag).sum()) for record in self.records)

    def by_class(self, classes: int) -> list[int]:
        """Return how many objects that count each class has."""
        return torch.bincount(self.labels[self.counts], minlength=classes).tolist()

    def with_anchor(self) -> int:
        """Return how many objects that count have an anchor of IoU ≥ 0.5."""
        return int((self.iou[self.counts] >= POSITIVE_IOU).sum())

    def dropped(self) -> Tensor:
        """Return which objects training drops unless augmentation enlarges them, bool [N]: less than 1 pixel a side."""
        return ((self.boxes[:, 2:] - self.boxes[:, :2]).amin(1) < 1) & self.counts

    def per_image(self) -> Tensor:
        """Return how many objects that count each image has, int64 [images]."""
        return torch.bincount(self.image[self.counts], minlength=len(self.records))

    def names(self, objects: Tensor) -> list[str]:
        """Return the names of the files that hold the objects of a mask [N], each once."""
        return [self.records[index].path.name for index in self.image[objects].unique().tolist()]


def view_split(name: str, records: list[ImageRecord], view: DetectorView) -> SplitView:
    """Return a split as the detector sees it."""
    per_image = torch.tensor([len(record.boxes) for record in records], dtype=torch.int64)
    image = torch.arange(len(records)).repeat_interleave(per_image)
    sizes = torch.tensor([(record.width, record.height) for record in records], dtype=torch.float32).reshape(-1, 2)
    none = [torch.zeros(0, 4)]
    boxes = torch.cat(none + [record.boxes for record in records]) * (view.train_size / sizes[image]).repeat(1, 2)
    parts = [closest_anchors(part, view.grids) for part in boxes.split(50_000)]
    iou, closest = (torch.cat(columns) for columns in zip(*parts, strict=True)) if parts else (boxes[:, 0], boxes)
    return SplitView(
        name=name,
        records=records,
        image=image,
        boxes=boxes,
        labels=torch.cat([torch.zeros(0, dtype=torch.int64)] + [record.labels for record in records]),
        counts=~torch.cat([torch.zeros(0, dtype=torch.bool)] + [r.difficult | r.crowd for r in records]),
        iou=iou,
        closest=closest,
    )


def count_sizes(areas: Tensor) -> dict[str, int]:
    """Return how many of these areas in square pixels are small, medium and large for COCO."""
    small, large = int((areas < SMALL).sum()), int((areas >= LARGE).sum())
    return dict(zip(SIZES, (small, len(areas) - small - large, large), strict=True))


def summary(train: SplitView, test: SplitView, view: DetectorView) -> list[str]:
    """Return the data of a run in three lines."""
    sizes = count_sizes(box_area(train.boxes[train.counts]))
    shares = ", ".join(f"{round(100 * count / max(train.objects, 1))}% {name}" for name, count in sizes.items())
    side, with_anchor = view.train_size, train.with_anchor()
    others = "" if with_anchor == train.objects else ", the others at best the closest one"
    return [
        _split_line("train on", train, view, "trained on"),
        _split_line("test on", test, view, "counted"),
        f"training objects at {side} × {side} pixels: {shares}; {with_anchor:,} of {train.objects:,} have an anchor "
        f"of IoU ≥ {POSITIVE_IOU}{others}",
    ]


def _split_line(verb: str, split: SplitView, view: DetectorView, use: str) -> str:
    by_class = sorted(zip(split.by_class(len(view.classes)), view.classes, strict=True), key=lambda pair: -pair[0])
    listed = [f"{one_line(name)} {count:,}" for count, name in by_class]
    if len(listed) > MOST_CLASSES:
        listed = [*listed[:2], "…", *listed[-2:]]
    flags = [counted(count, noun) for flag, noun in FLAGS.items() if (count := split.flagged(flag))]
    not_used = f"; not {use}: {', '.join(flags)}" if flags else ""
    images = f"{counted(len(split.records), 'image')} of {one_line(split.name, 80)}"
    classes = f"{counted(len(view.classes), 'class')} ({', '.join(listed)})"
    return f"{verb} {images}: {counted(split.objects, 'object')} of {classes}{not_used}"


def warnings(train: SplitView, test: SplitView, view: DetectorView) -> list[str]:
    """Return what should be noticed before a run starts, one line each.

    Raises:
        DataError: no object is to be found in the test images, so that there would be no AP.
    """
    _refuse_nothing_to_find(test)
    found = [_dropped(train, view), _too_few_anchors(train, view), _too_many_objects(test, view)]
    found += _classes_not_in_both(train, test, view)
    paths = {record.path for record in train.records}
    both = [record.path.name for record in test.records if record.path in paths]
    if both:
        found.append(
            f"{counted(len(both), 'test image')} in the training split too, so that AP is not that of new images: "
            f"{first_names(both)}"
        )
    return [line for line in found if line]


def _refuse_nothing_to_find(test: SplitView) -> None:
    if test.objects:
        return
    boxes = len(test.labels)
    why = f"every object ({boxes:,}) is difficult or a crowd" if boxes else "no image has an object"
    raise DataError(
        f"the split {test.name} has nothing to find: in {counted(len(test.records), 'image')} "
        f"({first_names([str(record.path) for record in test.records], 2)}) {why}, so that there would be no AP. "
        "Correct dataset.test or the annotations"
    )


def _dropped(train: SplitView, view: DetectorView) -> str:
    dropped = train.dropped()
    if not dropped.any():
        return ""
    return (
        f"{int(dropped.sum()):,} of {counted(train.objects, 'training object')} less than 1 pixel wide or high at "
        f"dataset.train_size={view.train_size}, and so not trained on: raise it. They are in "
        f"{first_names(train.names(dropped))}"
    )


def _too_few_anchors(train: SplitView, view: DetectorView) -> str:
    with_anchor = train.with_anchor()
    if with_anchor >= train.objects / 2:
        return ""
    boxes = train.boxes[train.counts]
    width, height = (boxes[:, 2:] - boxes[:, :2]).median(0).values.tolist()
    areas, option = view.anchor_shapes.prod(1), view.detector.size_option.partition("=")[0]
    if width * height < areas.min():
        lower = [f"lower {option}"] if option else []
        advice = ", or ".join([*([] if view.detector.scales_with_images else ["raise dataset.train_size"]), *lower])
    elif width * height > areas.max():
        advice = f"raise {option}" if option else "all anchors are smaller"
    elif max(width, height) > view.longest_ratio * min(width, height):
        advice = "they are too long and thin"
    else:
        advice = "anchors of their size are too far apart" + (f": try other values of {option}" if option else "")
    with_option = f" with {view.detector.size_option}" if option else ""
    return (
        f"{'none' if not with_anchor else f'only {with_anchor:,}'} of {train.objects:,} training objects "
        f"{'has' if not with_anchor else 'have'} an anchor of IoU ≥ {POSITIVE_IOU}: their median is {width:.0f} × "
        f"{height:.0f} pixels at dataset.train_size={view.train_size}, the smallest anchor has the area of a square of "
        f"{areas.min().sqrt():.3g}{with_option}; {advice}"
    )


def _too_many_objects(test: SplitView, view: DetectorView) -> str:
    per_image = test.per_image()
    crowded = (per_image > view.max_detections).nonzero().squeeze(1).tolist()
    if not crowded:
        return ""
    return (
        f"{counted(len(crowded), 'test image')} with more objects than the model.max_detections={view.max_detections} "
        f"detections kept, up to {int(per_image.max())}; the rest cannot be found: "
        f"{first_names([test.records[index].path.name for index in crowded])}. Give "
        f"model.max_detections={int(per_image.max())} or more; COCO's own AP stays at 100"
    )


def _classes_not_in_both(train: SplitView, test: SplitView, view: DetectorView) -> list[str]:
    counts = list(zip(train.by_class(len(view.classes)), test.by_class(len(view.classes)), view.classes, strict=True))
    unseen = [one_line(name) for in_train, in_test, name in counts if in_test and not in_train]
    untested = [one_line(name) for in_train, in_test, name in counts if in_train and not in_test]
    absent = [one_line(name) for in_train, in_test, name in counts if not in_train and not in_test]
    lines = []
    if absent:
        lines.append(f"classes without an object in either split, which may be misspelt: {first_names(absent)}")
    if unseen:
        lines.append(f"classes to find without a training object, whose AP will be near 0: {first_names(unseen)}")
    if untested:
        lines.append(f"classes trained without a test object, which have no AP: {first_names(untested)}")
    return lines
