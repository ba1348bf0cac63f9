"""Kinds of damage to folders of data, each with what it makes of them: the generator of `test_damage.py`.

A kind is a function that damages a folder and returns what must come of it. Where it changes what
the files mean it changes the truth too, the folder's `splits`.
"""

from tests.data.damage import (
    broken_images,
    coco,
    flips,
    images,
    json_values,
    lists,
    names,
    storage,
    xml,
    xml_text,
    yolo,
    yolo_files,
)

__all__ = [
    "broken_images",
    "coco",
    "flips",
    "images",
    "json_values",
    "lists",
    "names",
    "storage",
    "xml",
    "xml_text",
    "yolo",
    "yolo_files",
]
