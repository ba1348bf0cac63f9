"""PASCAL VOC's layout: ``Annotations/*.xml``, ``JPEGImages/`` and ``ImageSets/Main/<set>.txt``."""

import logging
import math
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

from PIL import Image

from src.data.records import DataError, ImageRecord, make_record

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
DEALT_DIGITS = {"test": (0, 1), "val": (2,), "train": range(3, 10), "trainval": range(2, 10)}


def read_voc(root: str | Path, split: str, classes: Sequence[str] | None = None) -> list[ImageRecord]:
    """The images of ``split`` in a folder of PASCAL VOC's layout, in the order of their set lists.

    ``split`` joins items by ``+``. An item ``YYYY_set``, where ``root/VOCYYYY`` exists (``root`` is then the
    VOCdevkit folder), is that folder's list ``ImageSets/Main/set.txt``; any other item is a list of ``root``
    itself; the item ``all`` takes every image. A folder without any list has its images dealt to ``train``,
    ``val`` and ``test`` (7 : 1 : 2) by a hash of their names. ``labels`` index ``classes``, by default
    :func:`voc_classes` of the same split.

    Boxes are clipped to their image. Those without area or wholly outside are dropped, and a size missing
    from an XML file is read from the image, either with one warning for the whole call. Anything else amiss
    raises :class:`DataError`.
    """
    annotations = _read_annotations(Path(root), split)
    if classes is None:
        classes = _class_names(annotations)
    label_of = {name: label for label, name in enumerate(classes)}
    empty, outside, sizeless = [], [], []
    records = []
    for annotation in annotations:
        width, height = annotation.size
        if width <= 0 or height <= 0:
            width, height = _size_in_header(annotation.image)
            sizeless.append(annotation.xml.name)
        boxes, labels, difficult = [], [], []
        for name, (xmin, ymin, xmax, ymax), is_difficult in annotation.objects:
            if name not in label_of:
                raise DataError(
                    f"{annotation.xml}: class {name!r} is not one of the classes {', '.join(classes)}; "
                    "correct the annotation or the list of classes"
                )
            if not (xmax > xmin and ymax > ymin):
                empty.append(annotation.xml.name)
                continue
            box = (max(xmin - 1, 0), max(ymin - 1, 0), min(xmax, width), min(ymax, height))
            if box[2] <= box[0] or box[3] <= box[1]:
                outside.append(annotation.xml.name)
                continue
            boxes.append(box)
            labels.append(label_of[name])
            difficult.append(is_difficult)
        records.append(make_record(annotation.stem, annotation.image, width, height, boxes, labels, difficult))
    if empty or outside:
        log.warning(
            "%s, %s: dropped %d boxes without area and %d wholly outside their image, in %s",
            root,
            split,
            len(empty),
            len(outside),
            _first(sorted({*empty, *outside})),
        )
    if sizeless:
        log.warning(
            "%s, %s: %d XML files give no image size, read from the images instead: %s",
            root,
            split,
            len(sizeless),
            _first(sizeless),
        )
    return records


def voc_classes(root: str | Path, split: str) -> list[str]:
    """The class names found in the annotations of ``split`` (see :func:`read_voc`), sorted."""
    return _class_names(_read_annotations(Path(root), split))


@dataclass
class _Annotation:
    """What an XML file says, its corners still one-based and inclusive; size (0, 0) where it gives none."""

    stem: str
    image: Path
    xml: Path
    size: tuple[int, int]
    objects: list[tuple[str, tuple[float, float, float, float], bool]] = field(default_factory=list)


def _class_names(annotations: list[_Annotation]) -> list[str]:
    return sorted({name for annotation in annotations for name, _, _ in annotation.objects})


def _read_annotations(root: Path, split: str) -> list[_Annotation]:
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder; dataset.root must name the folder of the data set")
    annotations, item_of, listings = [], {}, {}
    for item in split.split("+"):
        folder, set_name = _folder_of(root, item)
        if folder not in listings:
            listings[folder] = _list_folder(folder)
            if not listings[folder][2] and set_name != "all":
                log.warning(
                    "%s has no lists in ImageSets/Main: its images are dealt to train, val and test "
                    "(7 : 1 : 2) by a hash of their names",
                    folder,
                )
        images, xmls, lists = listings[folder]
        stems, source = _stems(folder, set_name, images, lists)
        if not stems:
            raise DataError(f"{source} lists no image")
        for what, place, found in (("image", "JPEGImages", images), ("XML file", "Annotations", xmls)):
            missing = [stem for stem in stems if stem not in found]
            if missing:
                raise DataError(
                    f"{folder / place} has no {what} for {len(missing)} of the {len(stems)} images that "
                    f"{source} lists: {_first(missing)}; add them, or take them off the list"
                )
        for stem in stems:
            if stem in item_of:
                raise DataError(
                    f"image {stem} is listed twice in split {split}, by {item_of[stem]} and by {source}; "
                    "each image must have a name of its own"
                )
            item_of[stem] = source
            annotations.append(_parse(stem, images[stem], xmls[stem]))
    return annotations


def _folder_of(root: Path, item: str) -> tuple[Path, str]:
    """The folder in VOC's layout that an item of a split reads, and the name of its set there."""
    year_and_set = re.fullmatch(r"(\d{4})_(.+)", item)
    if year_and_set and (root / f"VOC{year_and_set[1]}").is_dir():
        return root / f"VOC{year_and_set[1]}", year_and_set[2]
    if not (root / "JPEGImages").is_dir():
        years = sorted(folder.name for folder in root.glob("VOC[0-9][0-9][0-9][0-9]"))
        if years:
            hint = f"it holds {', '.join(years)}: write a split such as {years[0][3:]}_trainval instead of {item!r}"
        else:
            hint = (
                "dataset.root must name a folder that holds JPEGImages and Annotations, "
                "or VOCdevkit with its folders such as VOC2007"
            )
        raise DataError(f"{root} has no folder JPEGImages; {hint}")
    return root, item


def _list_folder(folder: Path) -> tuple[dict[str, Path], dict[str, Path], dict[str, Path]]:
    """A folder's images, XML files and set lists by stem, from one listing each: asking file by file is slow
    on a cluster's file system."""
    found = []
    for place, suffixes in (("JPEGImages", IMAGE_SUFFIXES), ("Annotations", (".xml",))):
        paths = {}
        if not (folder / place).is_dir():
            raise DataError(f"{folder} has no folder {place}; is it in PASCAL VOC's layout?")
        with os.scandir(folder / place) as entries:
            for name in sorted(entry.name for entry in entries):
                stem, suffix = os.path.splitext(name)
                if suffix.lower() not in suffixes:
                    continue
                if stem in paths:
                    raise DataError(f"{folder / place} has both {paths[stem].name} and {name}; keep one")
                paths[stem] = folder / place / name
        found.append(paths)
    lists = {path.stem: path for path in (folder / "ImageSets" / "Main").glob("*.txt")}
    return found[0], found[1], lists


def _stems(folder: Path, set_name: str, images: dict[str, Path], lists: dict[str, Path]) -> tuple[list[str], str]:
    """The names of a set's images, and what lists them, for messages."""
    if set_name == "all":
        return list(images), str(folder / "JPEGImages")
    if set_name in lists:
        lines = lists[set_name].read_text(encoding="utf-8-sig").splitlines()
        lines = [line.strip() for line in lines if line.strip()]
        # Lists of one class have a flag after the name; but a name may itself hold spaces.
        return [line if line in images else line.split()[0] for line in lines], str(lists[set_name])
    if not lists and set_name in DEALT_DIGITS:
        stems = [stem for stem in images if crc32(stem.encode()) % 10 in DEALT_DIGITS[set_name]]
        return stems, f"{folder} (which has no lists in ImageSets/Main), dealt to {set_name},"
    # Shortest first, so that train and val come before VOC's sixty lists of single classes.
    known = sorted(lists or DEALT_DIGITS, key=lambda name: (len(name), name))
    raise DataError(
        f"{folder / 'ImageSets' / 'Main'} has no list {set_name}.txt; the sets are {_first(known, 12)}, "
        "and all for every image"
    )


def _parse(stem: str, image: Path, xml: Path) -> _Annotation:
    try:
        tree = ET.fromstring(xml.read_bytes())
    except (ET.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{xml} cannot be parsed as XML ({error}); restore or delete it") from error
    size = tuple(int(_number(tree.findtext(f"size/{side}") or "0", xml)) for side in ("width", "height"))
    annotation = _Annotation(stem, image, xml, size)
    for number, element in enumerate(tree.iterfind("object"), start=1):
        name = (element.findtext("name") or "").strip()
        corners = element.find("bndbox")
        if not name or corners is None:
            raise DataError(f"{xml}: object {number} has no {'bndbox' if name else 'name'}")
        texts = [corners.findtext(tag) for tag in ("xmin", "ymin", "xmax", "ymax")]
        if None in texts:
            raise DataError(f"{xml}: the bndbox of object {number} lacks one of xmin, ymin, xmax, ymax")
        difficult = _number(element.findtext("difficult") or "0", xml) != 0
        annotation.objects.append((name, tuple(_number(text, xml) for text in texts), difficult))
    return annotation


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


def _first(names: Sequence[str], count: int = 5) -> str:
    return ", ".join(names[:count]) + (f", … ({len(names)} in all)" if len(names) > count else "")
