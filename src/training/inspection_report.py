"""What `python -m src.inspect` prints and draws."""

import csv
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from omegaconf import DictConfig
from torchvision.ops import box_area

from src.data.messages import first_names
from src.data.records import DataError
from src.detectors.detector import Detector, build_detector
from src.detectors.targets import POSITIVE_IOU
from src.evaluation.drawing import Sample, draw_samples, write_png
from src.evaluation.inspection import FLAGS, DetectorView, SplitView, count_sizes, warnings
from src.evaluation.oddities import Look, Oddity, in_both_splits, look_at_images, odd_boxes, odd_images, without_anchors
from src.training.data import Data, build_data
from src.training.data_check import check_batch, detector_view, view_splits
from src.utils.distributed import World
from src.utils.files import write_atomically
from src.utils.printing import print_while_read
from src.utils.text import counted, one_line

SAMPLES = 12
COLUMN = 26  # characters for a class's name


def inspect_data(config: DictConfig, folder: Path) -> None:
    """Print what each split contains and what is odd; list the latter by file, and draw training samples.

    Args:
        config: resolved.
        folder: where the two files go, which are named after the data set.

    Raises:
        UserError: a run would refuse the data.
    """
    detector = build_detector(config.model, config.dataset.train_size)
    data = build_data(config, detector.normalisation, World())
    view = detector_view(config, detector, data.classes)
    train, test = view_splits(config, data.train.records, data.test, view)
    looks = [look_at_images(split.records, f"reading {split.name}") for split in (train, test)]
    odd = {
        "train": [*odd_boxes(train, view), *filter(None, [without_anchors(train, view)]), *odd_images(looks[0])],
        "test": [*odd_boxes(test, view), *odd_images(looks[1]), *filter(None, [in_both_splits(*looks)])],
    }
    for title, split in (("train", train), ("test", test)):
        print_while_read("\n".join(["", *_describe(title, split, view), *_odd_lines(odd[title])]))
    print_while_read("\n".join(["", "objects by class:", *_class_table(train, test, view)]))
    print_while_read(f"\neach epoch: {_steps(data)}")
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^\w.-]+", "_", str(config.dataset.name)).strip(".") or "data"
    _write_odd(folder / f"{name}.csv", odd)
    _refuse_unreadable([look for split_looks in looks for look in split_looks])
    samples = list(training_samples(detector, data, config.dataset.train_size))
    write_png(folder / f"{name}.png", lambda: draw_samples(samples, data.classes))
    print_while_read(f"{len(samples)} training samples as the network gets them: {folder / f'{name}.png'}")
    for line in warnings(train, test, view) + check_batch(config, len(train.records)):
        print_while_read(f"warning: {line}")


def _write_odd(file: Path, odd: dict[str, list[Oddity]]) -> None:
    """Write what is odd with a row for each file, and print where it is."""
    rows = [(split, item.what, name) for split, items in odd.items() for item in items for name in item.files]

    def write(temporary: Path) -> None:
        with open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
            csv.writer(stream).writerows([("split", "what", "file"), *rows])

    write_atomically(file, write)
    print_while_read(f"what is odd, file by file ({len(rows):,} rows): {file}")


def _refuse_unreadable(looks: list[Look]) -> None:
    problems = [look.problem for look in looks if look.problem]
    if problems:
        raise DataError(f"{counted(len(problems), 'image')} cannot be read, and would stop a run. First: {problems[0]}")


def training_samples(detector: Detector, data: Data, size: int) -> Iterator[Sample]:
    """Yield the first training images of the run, augmented as in the run, with their positive anchors."""
    anchors = torch.cat(detector.anchors(size, size))
    mean, std = (torch.tensor(x)[:, None, None] for x in (detector.normalisation.mean, detector.normalisation.std))
    epochs = (data.training_batches(epoch).batch_sampler or [] for epoch in itertools.count())
    keys = (key for batches in epochs for batch in batches for key in batch)
    for index, seed in itertools.islice(keys, SAMPLES):
        image, boxes, labels = data.train[index, seed]
        targets = detector.assign_targets(anchors, [boxes], [labels], classes=len(data.classes))
        pixels = image * std + mean
        yield Sample(
            title=one_line(data.train.records[index].image_id),
            image=(pixels * 255).round().clamp(0, 255).byte(),
            boxes=boxes,
            labels=labels,
            anchors=anchors[targets.positive[0]],
        )


def _describe(title: str, split: SplitView, view: DetectorView) -> list[str]:
    boxes = split.boxes[split.counts]
    original = torch.cat([torch.zeros(0), *(record.area for record in split.records)])[split.counts]
    with_anchor, per_image = split.with_anchor(), split.per_image()
    side = f"{view.train_size} × {view.train_size} pixels"
    return [
        f"{title}: {one_line(split.name, 80)}",
        f"  {counted(len(split.records), 'image')}, {int((per_image == 0).sum()):,} of them without objects",
        f"  {counted(split.objects, 'object')}, at most {int(per_image.max()) if len(per_image) else 0:,} in an image; "
        f"not counted: {', '.join(counted(split.flagged(flag), noun) for flag, noun in FLAGS.items())}",
        f"  by size at {side}: {_listed(count_sizes(box_area(boxes)))}; median {_median(boxes)}",
        f"  by size as COCO's metrics count it, in pixels of the file: {_listed(count_sizes(original))}",
        f"  at {side} {with_anchor:,} objects have an anchor of IoU ≥ {POSITIVE_IOU}, {split.objects - with_anchor:,} "
        "at best the closest anchor, which is made positive",
    ]


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _median(boxes: torch.Tensor) -> str:
    if not len(boxes):
        return "none"
    width, height = (boxes[:, 2:] - boxes[:, :2]).median(0).values.tolist()
    return f"{width:.0f} × {height:.0f}"


def _odd_lines(odd: list[Oddity]) -> list[str]:
    return [
        f"  odd: {item.what}: {item.count:,}, in {first_names([one_line(name, 200) for name in item.files], 3)}"
        for item in odd
    ] or ["  nothing odd"]


def _class_table(train: SplitView, test: SplitView, view: DetectorView) -> list[str]:
    counts = zip(view.classes, train.by_class(len(view.classes)), test.by_class(len(view.classes)), strict=True)
    return [
        f"  {one_line(name, COLUMN):<{COLUMN}} {in_train:>9,} train {in_test:>9,} test"
        for name, in_train, in_test in counts
    ]


def _steps(data: Data) -> str:
    images, batch = len(data.train), min(data.batch_size, len(data.train))
    left = images % batch
    rest = f"; {counted(left, 'image')} left out, different in each epoch" if left else ""
    return f"{counted(images // batch, 'step')} of {counted(batch, 'image')}{rest}"
