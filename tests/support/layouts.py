"""The same annotated pictures as a folder in each layout that is read: VOC's, flat, COCO's, Roboflow's and YOLO's."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import yaml

from src.data.records import ImageRecord

Box = tuple[float, float, float, float]


@dataclass
class Thing:
    """An object of a picture."""

    name: str  # of its class
    box: Box  # continuous (x1, y1, x2, y2) in pixels
    difficult: bool = False
    crowd: bool = False
    area: float | None = None  # square pixels; None for that of the box

    @property
    def xywh(self) -> list[float]:
        """The box as COCO has it."""
        x1, y1, x2, y2 = self.box
        return [x1, y1, x2 - x1, y2 - y1]


@dataclass
class Picture:
    """An image and its objects."""

    name: str  # of its file
    size: tuple[int, int]  # (width, height)
    content: bytes = field(repr=False)  # of its file
    things: list[Thing] = field(default_factory=list)
    pixels: np.ndarray | None = field(default=None, repr=False)  # uint8 [H, W, 3]

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return self.name.rpartition(".")[0]


Splits = Mapping[str, Sequence[Picture]]


def pictures_of(records: Sequence[ImageRecord], classes: Sequence[str]) -> list[Picture]:
    """Return pictures of what was read from a folder."""
    return [
        Picture(
            record.path.name,
            (record.width, record.height),
            record.path.read_bytes(),
            [
                Thing(classes[label], tuple(box), difficult, crowd, area)
                for label, box, difficult, crowd, area in zip(
                    *(column.tolist() for column in (record.labels, record.boxes, record.difficult, record.crowd)),
                    record.area.tolist(),
                    strict=True,
                )
            ],
        )
        for record in records
    ]


def write_layout(layout: str, root: Path, splits: Splits, classes: Sequence[str]) -> Path:
    """Write pictures as a folder in a layout, a key of `LAYOUTS`, and return it."""
    LAYOUTS[layout](root, splits, classes)
    return root


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file, and the folders it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def object_xml(thing: Thing) -> str:
    """Return an object as VOC's XML has it, with one-based inclusive corners."""
    x1, y1, x2, y2 = thing.box
    corners = zip(("xmin", "ymin", "xmax", "ymax"), (x1 + 1, y1 + 1, x2, y2), strict=True)
    box = "".join(f"<{tag}>{value:.15g}</{tag}>" for tag, value in corners)
    # Spaces but the plain one are written by number: a parser makes one of \r\n, and spaces of others in attributes.
    name = "".join(f"&#{ord(c)};" if c.isspace() and c != " " else escape(c) for c in thing.name)
    return f"<object><name>{name}</name><difficult>{int(thing.difficult)}</difficult><bndbox>{box}</bndbox></object>"


def picture_xml(picture: Picture) -> str:
    """Return the content of a picture's XML file."""
    size = "<size><width>{}</width><height>{}</height><depth>3</depth></size>".format(*picture.size)
    objects = "\n".join(object_xml(thing) for thing in picture.things)
    return f"<annotation>\n<filename>{picture.name}</filename>\n{size}\n{objects}\n</annotation>\n"


def coco_json(pictures: Sequence[Picture], classes: Sequence[str], *, roboflow: bool = False) -> dict[str, Any]:
    """Return the content of a JSON file, whose category ids have a gap."""
    ids = {name: 1 + number + (number > 0) for number, name in enumerate(classes)}
    annotations: list[dict[str, Any]] = []
    for number, picture in enumerate(pictures):
        for thing in picture.things:
            x1, y1, x2, y2 = thing.box
            area = (x2 - x1) * (y2 - y1) if thing.area is None else thing.area
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number + 1, "category_id": ids[thing.name]}
                | {"bbox": thing.xywh, "area": area, "iscrowd": int(thing.crowd), "segmentation": []}
            )
    categories = [{"id": ids[name], "name": name, "supercategory": "things" if roboflow else ""} for name in classes]
    if roboflow:
        categories.insert(0, {"id": 0, "name": "things", "supercategory": "none"})
    images = [
        {"id": number + 1, "file_name": picture.name, "width": picture.size[0], "height": picture.size[1]}
        for number, picture in enumerate(pictures)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def yolo_lines(picture: Picture, classes: Sequence[str]) -> list[str]:
    """Return the lines of a picture's label file."""
    width, height = picture.size
    lines = []
    for thing in picture.things:
        x1, y1, x2, y2 = thing.box
        numbers = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height
        lines.append(" ".join(map(str, (classes.index(thing.name), *numbers))))
    return lines


def yolo_yaml(classes: Sequence[str], **entries: Any) -> str:
    """Return the content of a data.yaml. Entries replace the usual ones, or leave them out where they are None."""
    entries = {"train": "images/train", "test": "images/test", "nc": len(classes), "names": list(classes)} | entries
    entries = {key: value for key, value in entries.items() if value is not None}
    return yaml.safe_dump(entries, allow_unicode=True, sort_keys=False)


def _write_voc(root: Path, splits: Splits, classes: Sequence[str]) -> None:
    for split, pictures in splits.items():
        stems = "".join(f"{picture.stem}\n" for picture in pictures)
        write_file(root / "ImageSets" / "Main" / f"{split}.txt", stems)
        for picture in pictures:
            write_file(root / "JPEGImages" / picture.name, picture.content)
            write_file(root / "Annotations" / f"{picture.stem}.xml", picture_xml(picture))


def _write_flat(root: Path, splits: Splits, classes: Sequence[str]) -> None:
    for split, pictures in splits.items():
        for picture in pictures:
            write_file(root / split / picture.name, picture.content)
            write_file(root / split / f"{picture.stem}.xml", picture_xml(picture))


def _write_coco(root: Path, splits: Splits, classes: Sequence[str]) -> None:
    for split, pictures in splits.items():
        write_file(root / "annotations" / f"instances_{split}.json", json.dumps(coco_json(pictures, classes), indent=1))
        for picture in pictures:
            write_file(root / split / picture.name, picture.content)


def _write_roboflow(root: Path, splits: Splits, classes: Sequence[str]) -> None:
    for split, pictures in splits.items():
        content = coco_json(pictures, classes, roboflow=True)
        write_file(root / split / "_annotations.coco.json", json.dumps(content))
        for picture in pictures:
            write_file(root / split / picture.name, picture.content)


def _write_yolo(root: Path, splits: Splits, classes: Sequence[str]) -> None:
    write_file(root / "data.yaml", yolo_yaml(classes, **{split: f"images/{split}" for split in splits}))
    for split, pictures in splits.items():
        for picture in pictures:
            write_file(root / "images" / split / picture.name, picture.content)
            write_file(root / "labels" / split / f"{picture.stem}.txt", "\n".join(yolo_lines(picture, classes)) + "\n")


LAYOUTS: dict[str, Callable[[Path, Splits, Sequence[str]], None]] = {
    "voc": _write_voc,
    "flat": _write_flat,
    "coco": _write_coco,
    "roboflow": _write_roboflow,
    "yolo": _write_yolo,
}
