"""Images with XML files as PASCAL VOC's, in VOC's layout or flat."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.data.box_checks import are_written_otherwise, has_area
from src.data.images import check_size, read_header
from src.data.messages import first_names, look_alike
from src.data.records import Box, DataError, ImageRecord, make_record
from src.data.text import read_each
from src.data.voc.annotation import VocObject, read_annotation
from src.data.voc.sets import VocFiles, list_files, list_images
from src.utils.progress import progress_bar

logger = logging.getLogger(__name__)

# What is odd about a box or XML file without being an error, and what is done about it; `_counts` adds dropped boxes.
ODDITIES = {
    "all outside": "{} XML files have every box outside and may belong to other images:",
    "clipped": "clipped {} boxes that reach more than a pixel beyond their image, in",
    "repeated": "{} objects are in their XML file twice, and are kept, in",
    "turned": "took the extents of {} rotated boxes as their boxes, in",
    "exchanged": "exchanged the corners of {} boxes with xmin above xmax or ymin above ymax, in",
    "without size": "{} XML files give no image size, read from the images instead:",
}


def read_voc(
    root: str | Path, split: str, classes: Sequence[str] | None = None, *, flat: bool = False
) -> list[ImageRecord]:
    """Return the images of a split of a folder with VOC's XML files, in the order of their set lists.

    Boxes are clipped to their image, and exchanged corners put in order. Boxes without area or wholly outside are
    dropped. A size missing from an XML file is read from the image. One warning for the whole call counts all of these.

    Args:
        root: the data set's folder.
        split: set names joined by +. A name `YYYY_set`, where `root/VOCYYYY` exists (`root` is then the VOCdevkit
            folder), is that folder's list `ImageSets/Main/set.txt`; any other name is a list of `root` itself; `all`
            takes every image. `trainval` is train and val where it has no list. A folder without any list may have
            folders train, val (or valid) and test; without these, a hash of its name assigns each image to `train`,
            `val` or `test` (7 : 1 : 2).
        classes: what the labels index; None for `voc_classes` of the same split.
        flat: images and XML files stand beside each other, or in folders of their own, instead of in VOC's layout.

    Raises:
        DataError: a file is missing or defective, or a class is not among `classes`; the message names the file.
    """
    parsed = parse_flat(Path(root), split) if flat else parse_voc(Path(root), split)
    return parsed.records(parsed.class_names() if classes is None else classes)


def voc_classes(root: str | Path, split: str) -> list[str]:
    """Return the class names in the annotations of a split, sorted; see `read_voc` for splits."""
    return parse_voc(Path(root), split).class_names()


@dataclass(frozen=True)
class VocAnnotation:
    """The content of an XML file."""

    files: VocFiles
    size: tuple[int, int]  # (width, height) in pixels; (0, 0) where the file gives none
    objects: list[VocObject]


@dataclass(frozen=True)
class VocSplit:
    """The annotations of a split, before class names become labels."""

    root: Path
    split: str
    annotations: list[VocAnnotation]

    def class_names(self) -> list[str]:
        """Return the class names in the annotations, sorted."""
        return sorted({item.name for annotation in self.annotations for item in annotation.objects})

    def records(self, classes: Sequence[str]) -> list[ImageRecord]:
        """Return a record of each image, as `read_voc` does."""
        label_of = {name: label for label, name in enumerate(classes)}
        odd: dict[str, list[str]] = defaultdict(list)  # names of XML files, one for each box or file, by oddity
        records = []
        for annotation in self.annotations:
            for item in annotation.objects:
                if item.name not in label_of:
                    raise DataError(_unknown_class(annotation.files.xml, item.name, classes))
            records.append(_record(annotation, label_of, odd))
        self._refuse_sizes(records)
        if counts := _counts(odd):
            logger.warning("%s, %s: %s", self.root, self.split, "; ".join(counts))
        return records

    def _refuse_sizes(self, records: list[ImageRecord]) -> None:
        """Raise a DataError if the boxes are x, y, width and height rather than corners."""
        boxes = [
            (annotation.files.xml, item.corners, (record.width, record.height))
            for annotation, record in zip(self.annotations, records, strict=True)
            for item in annotation.objects
        ]
        numbers = np.array([corners for _, corners, _ in boxes], np.float64).reshape(-1, 4)
        sizes = np.array([size for _, _, size in boxes], np.float64).reshape(-1, 2)
        exchanged = np.any(numbers[:, :2] > numbers[:, 2:], axis=1)
        from_sizes = np.concatenate([numbers[:, :2], numbers[:, :2] + numbers[:, 2:]], axis=1)
        if are_written_otherwise(exchanged, from_sizes, sizes, tolerance=1):
            xml, corners, _ = boxes[int(np.flatnonzero(exchanged)[0])]
            raise DataError(
                f"{xml}: the boxes are x, y, width and height: as corners, {exchanged.sum()} of {len(boxes)} have xmin "
                f"above xmax or ymin above ymax, such as {', '.join(f'{number:g}' for number in corners)}. Add xmin to "
                "xmax, and ymin to ymax, in all files"
            )


def parse_voc(root: Path, split: str) -> VocSplit:
    """Read the set lists and XML files of a split in VOC's layout, each file once; see `read_voc` for splits."""
    return _parse(root, split, list_files(root, split))


def parse_flat(root: Path, split: str) -> VocSplit:
    """Read the XML files of a split of a flat folder, each once; see `read_voc` for splits."""
    return _parse(root, split, list_files(root, split, flat=True))


def read_images(
    root: Path, split: str, classes: Sequence[str], *, flat: bool = False
) -> tuple[list[ImageRecord], bool]:
    """Return the images of a split that may lack annotations, and whether it has them.

    It has them if each image has an XML file. Otherwise the records have no objects: VOC2012's test images come with
    XML files of other tasks for some.

    Raises:
        DataError: as `read_voc`, but for missing XML files.
    """
    images, annotated = list_images(root, split, flat=flat)
    if annotated:
        return read_voc(root, split, classes, flat=flat), True
    files = progress_bar(list(images.items()), "sizes of images")
    return [make_record(stem, path, read_header(path).upright, boxes=[], labels=[]) for stem, path in files], False


def _parse(root: Path, split: str, files: list[VocFiles]) -> VocSplit:
    contents = read_each(read_annotation, [of_image.xml for of_image in files], "XML files")
    return VocSplit(root, split, [VocAnnotation(item, *content) for item, content in zip(files, contents, strict=True)])


def _record(annotation: VocAnnotation, label_of: dict[str, int], odd: dict[str, list[str]]) -> ImageRecord:
    """Build the record of an image, and note in `odd` what is odd about its boxes and size."""
    files, size, xml = annotation.files, annotation.size, annotation.files.xml.name
    if size == (0, 0):
        size = read_header(files.image).upright
        odd["without size"].append(xml)
    odd["repeated"] += [xml] * (len(annotation.objects) - len(set(annotation.objects)))
    kept: list[tuple[VocObject, Box]] = []
    outside = 0
    for item in annotation.objects:
        box, oddities = _box_in_image(item.corners, size)
        for oddity in [*oddities, *(["turned"] if item.turned else [])]:
            odd[oddity].append(xml)
        outside += "outside" in oddities
        if box is not None:
            kept.append((item, box))
    if outside and not kept:
        if annotation.size != (0, 0):
            check_size(files.xml, files.image, annotation.size)
        odd["all outside"].append(xml)
    return make_record(
        files.stem,
        files.image,
        size,
        boxes=[box for _, box in kept],
        labels=[label_of[item.name] for item, _ in kept],
        difficult=[item.difficult for item, _ in kept],
    )


def _box_in_image(corners: Box, size: tuple[int, int]) -> tuple[Box | None, list[str]]:
    """Return a box (x1, y1, x2, y2) clipped to its image, None where nothing of it is left, and what was odd."""
    (width, height), (xmin, ymin, xmax, ymax) = size, corners
    odd = []
    if xmin > xmax or ymin > ymax:
        xmin, xmax, ymin, ymax = min(xmin, xmax), max(xmin, xmax), min(ymin, ymax), max(ymin, ymax)
        odd.append("exchanged")
    # In an image one pixel wide every box begins and ends in the same column.
    if (xmin == xmax and width > 1) or (ymin == ymax and height > 1):
        return None, [*odd, "without area"]
    x1, y1, x2, y2 = max(xmin - 1, 0), max(ymin - 1, 0), min(xmax, width), min(ymax, height)
    if not has_area((x1, y1, x2, y2)):
        return None, [*odd, "outside"]
    if xmin < 0 or ymin < 0 or xmax > width + 1 or ymax > height + 1:
        odd.append("clipped")
    return (x1, y1, x2, y2), odd


def _counts(odd: dict[str, list[str]]) -> list[str]:
    """Return how many boxes or files are odd in each way, with the names of the first files."""
    counts = []
    if dropped := {*odd["without area"], *odd["outside"]}:
        counts.append(
            f"dropped {len(odd['without area'])} boxes without area and {len(odd['outside'])} wholly outside their "
            f"image, in {first_names(sorted(dropped))}"
        )
    for oddity, message in ODDITIES.items():
        if files := odd[oddity]:
            counts.append(f"{message.format(len(files))} {first_names(sorted(set(files)))}")
    return counts


def _unknown_class(xml: Path, name: str, classes: Sequence[str]) -> str:
    near = [other for other in classes if look_alike(other) == look_alike(name)]
    hint = f" ({near[0]!r} is, which looks alike)" if near else ""
    return (
        f"{xml}: class {name!r} is not one of the classes {', '.join(classes)}{hint}; "
        "correct the annotation or the list of classes"
    )
