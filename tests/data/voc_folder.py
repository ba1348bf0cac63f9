"""Small folders in PASCAL VOC's layout, for tests."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

SIZE = "<size><width>100</width><height>80</height></size>"


def object_xml(name: str = "cat", box: Sequence = (11, 21, 30, 40), difficult: object = 0) -> str:
    """Return an object element; without a difficult element where `difficult` is None."""
    tags = ("xmin", "ymin", "xmax", "ymax")
    corners = "".join(f"<{tag}>{x}</{tag}>" for tag, x in zip(tags, box, strict=True))
    flag = "" if difficult is None else f"<difficult>{difficult}</difficult>"
    return f"<object><name>{name}</name>{flag}<bndbox>{corners}</bndbox></object>"


def add_image(root: Path, stem: str, *objects: str, suffix: str = ".jpg", size: str = SIZE) -> None:
    """Add a black image of 100 × 80 pixels and its XML file to a folder, which is created on first use."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    file_format = "PNG" if suffix.lower() == ".png" else "JPEG"
    Image.new("RGB", (100, 80)).save(root / "JPEGImages" / f"{stem}{suffix}", format=file_format)
    (root / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{size}{''.join(objects)}</annotation>")


def add_list(root: Path, name: str, *lines: str) -> None:
    """Add a set list to a folder."""
    (root / "ImageSets" / "Main" / f"{name}.txt").write_text("\n".join(lines) + "\n")


def add_two_images(root: Path) -> None:
    """Add images a, of a dog and a difficult cat, and b, of a cat, and a list "train" of both."""
    add_image(root, "a", object_xml("dog"), object_xml("cat", (1, 1, 100, 80), difficult=1))
    add_image(root, "b", object_xml("cat", ("12.0", "10.5", "50.0", "60.25"), difficult=None))
    add_list(root, "train", "b", "a")
