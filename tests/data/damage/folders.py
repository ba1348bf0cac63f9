"""Good folders of a few tiny images, the truth about them, and what must come of them once they are damaged."""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import numpy as np
from hypothesis import strategies as st
from PIL import Image

from tests.support.layouts import LAYOUTS, Box, Picture, Thing, write_layout

Item = TypeVar("Item")
XML, COCO, YOLO = ("voc", "flat"), ("coco", "roboflow"), ("yolo",)
ALL = tuple(LAYOUTS)
PICTURES = {"train": ("apple", "bread", "cheese"), "test": ("dates", "eggs")}  # words that no message has
CLASSES = ("cat", "dog", "traffic light", "R&D <5 $", "猫", "no", "7", "a/b,c=[d]", "Ünïcode", "50% \\ {x}")


@dataclass(frozen=True)
class Outcome:
    """What must come of a damaged folder."""

    names: tuple[str, ...] = ()  # a refusal's message contains one of them; without any it must be read
    may_be_read: bool = True  # as the truth has it
    logged: tuple[tuple[str, ...], ...] = ()  # for each of these a line must be logged that contains all its parts


def reads(*parts: str) -> Outcome:
    """Expect that a folder is read to the truth, and that a line with these parts is logged."""
    return Outcome(logged=(parts,) if parts else ())


def refuses(*paths: str | Path) -> Outcome:
    """Expect a refusal that contains the name of one of these files."""
    return Outcome(tuple(Path(path).name for path in paths), may_be_read=False)


def reads_or_refuses(*paths: str | Path) -> Outcome:
    """Expect the truth, or a refusal that contains the name of one of these files."""
    return Outcome(tuple(Path(path).name for path in paths))


class Dice:
    """Choices that hypothesis makes, and makes simpler where a test fails."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.draw = draw

    def pick(self, items: Sequence[Item]) -> Item:
        """Return one of several."""
        return self.draw(st.sampled_from(items))

    def number(self, low: int, high: int) -> int:
        """Return a whole number, of which both may be one."""
        return self.draw(st.integers(low, high))


@dataclass
class Folder:
    """A folder of data, and the truth about it."""

    root: Path
    layout: str
    splits: dict[str, list[Picture]]
    classes: list[str]  # in the order of the labels
    given_classes: bool = False  # whether the configuration names them
    free: list[Picture] = field(default_factory=list)  # not yet damaged
    spoilt: set[Path] = field(default_factory=set)  # damaged as bytes

    def take(self, dice: Dice, split: str | None = None) -> Picture:
        """Return a picture that is not damaged yet."""
        choice = [picture for picture in self.free if split is None or picture in self.splits[split]]
        if not choice:
            hypothesis.reject()
        picture = dice.pick(choice)
        self.free = [other for other in self.free if other is not picture]
        return picture

    def split_of(self, picture: Picture) -> str:
        """Return the split that holds a picture."""
        return next(split for split, pictures in self.splits.items() if any(other is picture for other in pictures))

    def drop(self, picture: Picture) -> None:
        """Note that a picture is read no more."""
        pictures = self.splits[self.split_of(picture)]
        pictures[:] = [other for other in pictures if other is not picture]
        self.free = [other for other in self.free if other is not picture]

    def image(self, picture: Picture) -> Path:
        """Return the path of a picture's image."""
        split = self.split_of(picture)
        folder = {"voc": "JPEGImages", "yolo": f"images/{split}"}.get(self.layout, split)
        return self.root / folder / picture.name

    def notes(self, picture: Picture) -> Path:
        """Return the path of the file with a picture's boxes."""
        split = self.split_of(picture)
        return {
            "voc": self.root / "Annotations" / f"{picture.stem}.xml",
            "flat": self.root / split / f"{picture.stem}.xml",
            "yolo": self.root / "labels" / split / f"{picture.stem}.txt",
        }.get(self.layout) or self.json(split)

    def set_list(self, split: str) -> Path:
        """Return the path of VOC's list of a split."""
        return self.root / "ImageSets" / "Main" / f"{split}.txt"

    def json(self, split: str) -> Path:
        """Return the path of the JSON file of a split."""
        name = "_annotations.coco.json"
        return self.root / ("annotations/instances_" + split + ".json" if self.layout == "coco" else f"{split}/{name}")

    @contextmanager
    def edited_json(self, split: str) -> Iterator[dict[str, Any]]:
        """Yield the content of a JSON file, and write it back."""
        content = json.loads(self.json(split).read_text())
        yield content
        self.json(split).write_text(json.dumps(content))

    @contextmanager
    def edited_annotation(self, picture: Picture, thing: Thing | None = None) -> Iterator[dict[str, Any]]:
        """Yield the annotation of one of a picture's objects, by default the first, and write it back."""
        with self.edited_json(self.split_of(picture)) as content:
            yield self.annotations(content, picture)[picture.things.index(thing) if thing else 0]

    @contextmanager
    def edited_image(self, picture: Picture) -> Iterator[dict[str, Any]]:
        """Yield a picture's entry in the list of images, and write it back."""
        with self.edited_json(self.split_of(picture)) as content:
            yield self.entry(content, picture)

    def entry(self, content: dict[str, Any], picture: Picture) -> dict[str, Any]:
        """Return the entry of a picture in the list of images of a JSON file."""
        return next(entry for entry in content["images"] if entry.get("file_name") == picture.name)

    def annotations(self, content: dict[str, Any], picture: Picture) -> list[dict[str, Any]]:
        """Return the annotations of a picture in the content of a JSON file."""
        image_id = self.entry(content, picture)["id"]
        return [entry for entry in content["annotations"] if entry.get("image_id") == image_id]

    def edit(self, path: Path, old: str, new: str, *, everywhere: bool = False) -> None:
        """Replace text in a file that holds it."""
        text = path.read_text()
        assert old in text, f"{path} lacks {old}"
        path.write_bytes(text.replace(old, new, -1 if everywhere else 1).encode())

    def spoil(self, path: Path) -> bytes:
        """Return the bytes of a file that another damage has not changed as bytes."""
        if path in self.spoilt:
            hypothesis.reject()
        self.spoilt.add(path)
        return path.read_bytes()

    def drop_thing(self, picture: Picture, thing: Thing) -> None:
        """Note that an object is read no more."""
        picture.things = [other for other in picture.things if other is not thing]

    def expected(self, split: str) -> list[Picture]:
        """Return the pictures of a split that are read: without those that have nothing to train on."""
        if split == "test":
            return self.splits[split]
        return [p for p in self.splits[split] if any(not (thing.difficult or thing.crowd) for thing in p.things)]


Kind = Callable[[Folder, Dice], Outcome]


@dataclass(frozen=True)
class Damage:
    """A kind of damage."""

    damage: Kind
    layouts: tuple[str, ...]
    stage: int  # of two damages to one folder the one of the lower stage comes first


KINDS: dict[str, Damage] = {}
OBJECTS, FILES, BYTES = range(3)  # stages: single entries of files, their whole content, and their bytes


def kind(*layouts: str, stage: int = OBJECTS) -> Callable[[Kind], Kind]:
    """Note a function as a kind of damage to folders in these layouts."""

    def note(function: Kind) -> Kind:
        assert function.__name__ not in KINDS
        KINDS[function.__name__] = Damage(function, layouts, stage)
        return function

    return note


def make_folder(root: Path, layout: str, dice: Dice) -> Folder:
    """Write a good folder of three training images and two test images, each with two or three objects."""
    rng = np.random.default_rng(dice.number(0, 2**16))  # faster than a choice for each number
    classes = rng.choice(CLASSES, rng.integers(2, 4), replace=False).tolist()
    if layout in XML:
        classes.sort()
    splits = {split: [_picture(f"{stem}.png", rng) for stem in stems] for split, stems in PICTURES.items()}
    for pictures in splits.values():
        for number, picture in enumerate(pictures):
            # Of every class in both splits, so that no warning is due.
            names = [classes[number % len(classes)], classes[(number + 1) % len(classes)], *classes[2:]]
            picture.things = [_thing(name, *picture.size, rng) for name in names]
    folder = Folder(write_layout(layout, root, splits, classes), layout, splits, classes)
    folder.free = [picture for pictures in splits.values() for picture in pictures]
    return folder


def _picture(name: str, rng: np.random.Generator) -> Picture:
    width, height = rng.integers(10, 41, 2).tolist()
    height += width == height  # turned images differ
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Picture(name, (width, height), encoded(pixels), pixels=pixels)


def _thing(name: str, width: int, height: int, rng: np.random.Generator) -> Thing:
    x1, y1 = rng.integers(0, (width - 3, height - 3)).tolist()
    return Thing(name, (x1, y1, *rng.integers((x1 + 3, y1 + 3), (width + 1, height + 1)).tolist()))


def encoded(pixels: np.ndarray | Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """Return an image as a file without loss where its format can."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    if file_format == "WEBP":
        options = {"lossless": True, "exact": True} | options
    image.save(stream, file_format, **options)
    return stream.getvalue()


def resized(box: Box, factor: float) -> Box:
    """Return a box in an image that is so many times larger."""
    x1, y1, x2, y2 = box
    return (x1 * factor, y1 * factor, x2 * factor, y2 * factor)
