"""Single bits of texts turned over: read as the damaged text means, or refused.

What it means is found out by other parsers than the project's, which take only what is beyond doubt.
"""

import json
import re
from typing import Any
from xml.dom import minidom

import yaml

from tests.data.damage.folders import BYTES, COCO, XML, YOLO, Dice, Folder, Outcome, kind
from tests.data.damage.folders import reads_or_refuses as either
from tests.support.layouts import Box, Picture, Thing, write_file


def flip(folder: Folder, path: Any, dice: Dice) -> bytes:
    """Turn a bit of a file over, and return its content."""
    data = bytearray(folder.spoil(path))
    data[dice.number(0, len(data) - 1)] ^= 1 << dice.number(0, 7)
    write_file(path, bytes(data))
    return bytes(data)


def clipped(box: Box, size: tuple[int, int]) -> Box | None:
    """Return a box inside its image, None if nothing is left."""
    x1, x2 = (min(max(x, 0), size[0]) for x in (box[0], box[2]))
    y1, y2 = (min(max(y, 0), size[1]) for y in (box[1], box[3]))
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


@kind(*XML, stage=BYTES)
def flipped_bit_in_xml(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    path = folder.notes(picture)
    data = flip(folder, path, dice)
    folder.given_classes = True
    try:
        picture.things = things_of_xml(minidom.parseString(data), picture)
    except Exception:
        # Whatever minidom refuses must be refused; a box of text for numbers too.
        return Outcome((path.name, picture.name), may_be_read=False)
    return either(path, picture.name)


def things_of_xml(document: minidom.Document, picture: Picture) -> list[Thing]:
    """Return the objects of an XML file. Raises anything where they are none."""

    def text(parent: Any, tag: str) -> str:
        [element] = [child for child in parent.childNodes if getattr(child, "tagName", "").lower() == tag]
        return "".join(child.data for child in element.childNodes).strip()

    things = []
    assert document.documentElement.tagName == "annotation"
    for element in document.getElementsByTagName("object"):
        [bndbox] = element.getElementsByTagName("bndbox")
        xmin, ymin, xmax, ymax = (float(text(bndbox, tag)) for tag in ("xmin", "ymin", "xmax", "ymax"))
        xmin, xmax, ymin, ymax = min(xmin, xmax), max(xmin, xmax), min(ymin, ymax), max(ymin, ymax)
        box = clipped((xmin - 1, ymin - 1, xmax, ymax), picture.size)
        if box and xmin < xmax and ymin < ymax:
            difficult = {"0": False, "1": True}[text(element, "difficult")]
            things.append(Thing(text(element, "name"), box, difficult))
    return things


@kind(*COCO, stage=BYTES)
def flipped_bit_in_json(folder: Folder, dice: Dice) -> Outcome:
    split = dice.pick(list(folder.splits))
    pictures = list(folder.splits[split])
    path = folder.json(split)
    data = flip(folder, path, dice)
    for _ in pictures:
        folder.take(dice, split)
    names = (path.name, *(picture.name for picture in pictures))
    folder.given_classes = True
    try:
        splits_of_json(json.loads(data), pictures)
    except Exception:
        return Outcome(names)
    folder.splits[split] = pictures
    return Outcome(names)


def splits_of_json(content: dict[str, Any], pictures: list[Picture]) -> None:
    """Note the objects of a JSON file as those of its pictures. Raises anything where it cannot be right."""
    of_name = {picture.name: picture for picture in pictures}
    of_id = {entry["id"]: of_name[entry["file_name"].rpartition("/")[2]] for entry in content["images"]}
    categories = {entry["id"]: entry["name"].strip() for entry in content["categories"]}
    things: dict[str, list[Thing]] = {picture.name: [] for picture in pictures}
    for entry in content["annotations"]:
        picture = of_id[entry["image_id"]]
        x, y, w, h = map(float, entry["bbox"])
        box = clipped((x, y, x + w, y + h), picture.size)
        if box and w > 0 and h > 0:
            area = entry.get("area", 0)
            thing = Thing(categories[entry["category_id"]], box, area=area if area > 0 else None)
            thing.crowd = entry.get("iscrowd", 0) == 1
            things[picture.name].append(thing)
    for picture in pictures:
        picture.things = things[picture.name]


@kind(*YOLO, stage=BYTES)
def flipped_bit_in_labels(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    path = folder.notes(picture)
    data = flip(folder, path, dice)
    return _labels(folder, picture, data)


@kind(*YOLO, stage=BYTES)
def truncated_labels(folder: Folder, dice: Dice) -> Outcome:
    """A line that is cut within its last number means another box, and no reader can know it."""
    picture = folder.take(dice)
    path = folder.notes(picture)
    data = folder.spoil(path)
    data = data[: dice.number(0, len(data) - 1)]
    write_file(path, data)
    return _labels(folder, picture, data)


def _labels(folder: Folder, picture: Picture, data: bytes) -> Outcome:
    path = folder.notes(picture)
    try:
        lines = dict.fromkeys(
            line for line in re.split(r"[\r\n\x0b\x0c\x1c\x1d\x1e\x85]", data.decode()) if line.strip()
        )
        things = [_thing(line.split(), folder, picture) for line in lines]
    except Exception:
        return Outcome((path.name,), may_be_read=False)
    picture.things = [thing for thing in things if thing]
    return either(path)


def _thing(fields: list[str], folder: Folder, picture: Picture) -> Thing | None:
    index, x, y, w, h = fields
    numbers = [float(number) for number in (x, y, w, h)]
    assert all("_" not in field for field in fields) and all(-0.01 <= number <= 1.01 for number in numbers)
    assert 0 <= int(index) < len(folder.classes)
    x1, x2 = (numbers[0] + side * numbers[2] / 2 for side in (-1, 1))
    y1, y2 = (numbers[1] + side * numbers[3] / 2 for side in (-1, 1))
    width, height = picture.size
    box = clipped(
        (round(x1 * width, 9), round(y1 * height, 9), round(x2 * width, 9), round(y2 * height, 9)), picture.size
    )
    return Thing(folder.classes[int(index)], box) if box else None


@kind(*YOLO, stage=BYTES)
def flipped_bit_in_yaml(folder: Folder, dice: Dice) -> Outcome:
    path = folder.root / "data.yaml"
    data = flip(folder, path, dice)
    old = folder.classes
    try:
        names = yaml.load(data, yaml.BaseLoader)["names"]
        assert len(names) == len(old)
        folder.classes = [name.strip() for name in names]
        of = dict(zip(old, folder.classes, strict=True))
        for pictures in folder.splits.values():
            for thing in (thing for picture in pictures for thing in picture.things):
                thing.name = of[thing.name]
    except Exception:
        return Outcome((path.name, "images"), may_be_read=False)
    return either(path, "images")


@kind("voc", stage=BYTES)
def flipped_bit_in_list(folder: Folder, dice: Dice) -> Outcome:
    """Another name, which no image has, or which comes twice, or which is one of the other split's."""
    split = dice.pick(list(folder.splits))
    data = flip(folder, folder.set_list(split), dice)
    picture_of = {picture.stem: picture for pictures in folder.splits.values() for picture in pictures}
    lines = data.decode(errors="replace").splitlines()
    if set(lines) <= picture_of.keys():
        folder.splits[split] = [picture_of[line] for line in lines]
    return either(folder.set_list(split))
