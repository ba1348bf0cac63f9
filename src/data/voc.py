"""PASCAL VOC's layout: `Annotations/*.xml`, `JPEGImages/` and `ImageSets/Main/<set>.txt`."""

import logging
import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from src.data.messages import first_names
from src.data.records import Box, DataError, ImageRecord, make_record
from src.data.voc_sets import VocFiles, list_files

logger = logging.getLogger(__name__)


def read_voc(root: str | Path, split: str, classes: Sequence[str] | None = None) -> list[ImageRecord]:
    """Return the images of a split of a folder in PASCAL VOC's layout, in the order of their set lists.

    Boxes are clipped to their image. Those without area or wholly outside are dropped, and a size missing from an XML
    file is read from the image, each with one warning for the whole call.

    Args:
        root: the data set's folder.
        split: set names joined by +. A name `YYYY_set`, where `root/VOCYYYY` exists (`root` is then the VOCdevkit
            folder), is that folder's list `ImageSets/Main/set.txt`; any other name is a list of `root` itself; `all`
            takes every image. A folder without any list has its images dealt to `train`, `val` and `test` (7 : 1 : 2)
            by a hash of their names.
        classes: what the labels index; None for `voc_classes` of the same split.

    Raises:
        DataError: a file is missing or defective, or a class is not among `classes`; the message names the file.
    """
    parsed = parse_voc(Path(root), split)
    return parsed.records(parsed.class_names() if classes is None else classes)


def voc_classes(root: str | Path, split: str) -> list[str]:
    """Return the class names in the annotations of a split, sorted; see `read_voc` for splits."""
    return parse_voc(Path(root), split).class_names()


@dataclass(frozen=True)
class VocObject:
    """An object of an XML file, its corners (xmin, ymin, xmax, ymax) still one-based and inclusive."""

    name: str
    corners: Box
    difficult: bool


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
        without_size: list[str] = []
        without_area: list[str] = []
        outside: list[str] = []
        records = []
        for annotation in self.annotations:
            files, (width, height) = annotation.files, annotation.size
            if width <= 0 or height <= 0:
                width, height = _size_in_header(files.image)
                without_size.append(files.xml.name)
            boxes, labels, difficult = [], [], []
            for item in annotation.objects:
                if item.name not in label_of:
                    raise DataError(
                        f"{files.xml}: class {item.name!r} is not one of the classes {', '.join(classes)}; "
                        "correct the annotation or the list of classes"
                    )
                xmin, ymin, xmax, ymax = item.corners
                if not (xmax > xmin and ymax > ymin):
                    without_area.append(files.xml.name)
                    continue
                box = (max(xmin - 1, 0), max(ymin - 1, 0), min(xmax, width), min(ymax, height))
                if box[2] <= box[0] or box[3] <= box[1]:
                    outside.append(files.xml.name)
                    continue
                boxes.append(box)
                labels.append(label_of[item.name])
                difficult.append(item.difficult)
            records.append(
                make_record(files.stem, files.image, (width, height), boxes=boxes, labels=labels, difficult=difficult)
            )
        self._warn(without_area, outside, without_size)
        return records

    def _warn(self, without_area: list[str], outside: list[str], without_size: list[str]) -> None:
        if without_area or outside:
            logger.warning(
                "%s, %s: dropped %d boxes without area and %d wholly outside their image, in %s",
                self.root,
                self.split,
                len(without_area),
                len(outside),
                first_names(sorted({*without_area, *outside})),
            )
        if without_size:
            logger.warning(
                "%s, %s: %d XML files give no image size, read from the images instead: %s",
                self.root,
                self.split,
                len(without_size),
                first_names(without_size),
            )


def parse_voc(root: Path, split: str) -> VocSplit:
    """Read the set lists and XML files of a split, each file once; see `read_voc` for splits."""
    return VocSplit(root, split, [_parse_annotation(files) for files in list_files(root, split)])


def _parse_annotation(files: VocFiles) -> VocAnnotation:
    xml = files.xml
    try:
        tree = ET.fromstring(xml.read_bytes())
    except (ET.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{xml} cannot be parsed as XML ({error}); restore or delete it") from error
    width, height = (int(_number(tree.findtext(f"size/{side}") or "0", xml)) for side in ("width", "height"))
    objects = []
    for number, element in enumerate(tree.iterfind("object"), start=1):
        name = (element.findtext("name") or "").strip()
        bndbox = element.find("bndbox")
        if not name or bndbox is None:
            raise DataError(f"{xml}: object {number} has no {'bndbox' if name else 'name'}")
        texts = [bndbox.findtext(tag) for tag in ("xmin", "ymin", "xmax", "ymax")]
        if None in texts:
            raise DataError(f"{xml}: the bndbox of object {number} lacks one of xmin, ymin, xmax, ymax")
        difficult = _number(element.findtext("difficult") or "0", xml) != 0
        xmin, ymin, xmax, ymax = (_number(text or "", xml) for text in texts)
        objects.append(VocObject(name, (xmin, ymin, xmax, ymax), difficult))
    return VocAnnotation(files, (width, height), objects)


def _number(text: str, xml: Path) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{xml}: {text!r} stands where a size, a coordinate or a difficult flag should be")
    return number


def _size_in_header(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except OSError as error:
        raise DataError(f"{path} cannot be read as an image ({error}); restore or delete it") from error
