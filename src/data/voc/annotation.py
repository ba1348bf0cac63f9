"""PASCAL VOC's XML files: the size of an image, and the name, corners and difficult flag of each object."""

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from src.data.box_checks import extent_of_turned
from src.data.fields import as_angle
from src.data.messages import shown
from src.data.records import Box, DataError
from src.data.text import decode_text, read_bytes, unicode_encoding

TAGS = ("xmin", "ymin", "xmax", "ymax")
FLAGS = {
    **dict.fromkeys(("1", "1.0", "true", "yes"), True),
    **dict.fromkeys(("", "0", "0.0", "false", "no", "none", "unspecified"), False),
}
# What a file with a root element other than <annotation> is.
OTHER_ROOTS = {"annotations": "CVAT's XML", "html": "a web page", "dataset": "dlib's XML", "svg": "a drawing"}


@dataclass(frozen=True)
class VocObject:
    """An object of an XML file, its corners (xmin, ymin, xmax, ymax) still one-based and inclusive."""

    name: str
    corners: Box
    difficult: bool
    turned: bool = False  # whether `corners` are the extent of a rotated box


def read_annotation(xml: Path) -> tuple[tuple[int, int], list[VocObject]]:
    """Return the (width, height) that an XML file gives, (0, 0) where it gives none, and its objects.

    Namespaces and upper case in tags do not matter. Boxes of the parts of a person are not objects.

    Raises:
        DataError: the file is not an annotation in VOC's format, or a value in it is impossible; the message names it.
    """
    root = read_root(xml)
    objects = [_object(element, f"{xml}: object {number}") for number, element in enumerate(root.findall("object"), 1)]
    boxes, inside = (sum(1 for _ in root.iterfind(path)) for path in (".//bndbox", "object//bndbox"))
    if boxes > inside or sum(1 for _ in root.iter("object")) > len(objects):
        raise DataError(f"{xml}: an object or bndbox stands where none belongs; each belongs into <annotation><object>")
    return _size(root, xml), objects


def read_root(xml: Path) -> ET.Element:
    """Parse an XML file, and return its <annotation> with every tag in lower case and without namespaces.

    Raises:
        DataError: the file cannot be read or parsed, or has another root element.
    """
    text = _decode(read_bytes(xml), xml).lstrip()
    try:
        root = ET.fromstring(text)
    except (ET.ParseError, ValueError) as error:
        problem = str(error) if text else "it is empty"
        if text.startswith(("{", "[")):
            problem = "it is JSON"
        elif re.match(r"<(!doctype\s+)?html", text, re.IGNORECASE):
            problem = "it is a web page"
        raise DataError(f"{xml} cannot be parsed as XML ({problem}); restore, correct or delete it") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2].lower()
    if root.tag != "annotation":
        kind = OTHER_ROOTS.get(root.tag, "another format")
        raise DataError(
            f"{xml}: its root element is <{root.tag}> instead of <annotation>: it is {kind}; export the annotations in "
            "PASCAL VOC's format, or move the file elsewhere"
        )
    return root


def _decode(data: bytes, xml: Path) -> str:
    """Decode an XML file by its byte order mark, else by its declaration, else as UTF-8."""
    encoding = unicode_encoding(data)
    if encoding is None:
        declared = re.match(rb"\s*<\?xml[^>]*?\sencoding\s*=\s*[\"']([^\"']+)", data)
        encoding = declared[1].decode("ascii", "replace") if declared else "utf-8"
        if re.match(r"(?i)utf-?(16|32)|ucs", encoding):
            encoding = "utf-8"  # .NET declares UTF-16 in files of UTF-8; one of UTF-16 has no ASCII declaration
    return decode_text(data, xml, encoding)


def _only(parent: ET.Element, tag: str, where: str) -> ET.Element | None:
    """Return the child of this tag, None if there is none.

    Raises:
        DataError: there are several.
    """
    children = parent.findall(tag)
    if len(children) > 1:
        raise DataError(f"{where} has {len(children)} elements <{tag}>; keep one, or make an object for each")
    return children[0] if children else None


def _text(parent: ET.Element, tag: str, where: str) -> str:
    child = _only(parent, tag, where)
    if child is None:
        return ""
    if len(child):  # `child.text` lacks the text after elements in it
        raise DataError(f"{where}: its <{tag}> holds <{child[0].tag}> where only text belongs; correct it")
    return (child.text or "").strip()


def _size(root: ET.Element, xml: Path) -> tuple[int, int]:
    element = _only(root, "size", str(xml))
    if element is None:
        return 0, 0
    sides = [_number(_text(element, tag, str(xml)) or "0", str(xml)) for tag in ("width", "height")]
    if any(side != int(side) for side in sides):
        raise DataError(f"{xml}: its size {sides[0]:g}×{sides[1]:g} is no whole number of pixels; correct it")
    width, height = (int(side) for side in sides)
    return (width, height) if width > 0 and height > 0 else (0, 0)


def _object(element: ET.Element, where: str) -> VocObject:
    name = _text(element, "name", where)
    if not name:
        raise DataError(f"{where} has no name; add one or delete the object")
    bndbox = _only(element, "bndbox", where)
    if bndbox is None:
        raise DataError(
            f"{where} has no bndbox; its elements are {', '.join(child.tag for child in element)}. Rotated boxes, "
            "polygons and points are not read: export upright boxes"
        )
    texts = [_text(bndbox, tag, where) for tag in TAGS]
    if any(bndbox.find(tag) is None for tag in TAGS):
        raise DataError(f"{where} lacks one of xmin, ymin, xmax, ymax in its bndbox; add it or delete the object")
    xmin, ymin, xmax, ymax = (_number(text, where) for text in texts)
    if all(0 <= value <= 1 for value in (xmin, ymin, xmax, ymax)) and xmin != xmax and ymin != ymax:
        raise DataError(
            f"{where} has all its coordinates between 0 and 1: {', '.join(texts)}. VOC's are pixels; multiply them by "
            "the image's width and height"
        )
    corners, angle = (xmin, ymin, xmax, ymax), _angle(element)
    if angle and xmin < xmax and ymin < ymax:
        x1, y1, x2, y2 = extent_of_turned((xmin - 1, ymin - 1, xmax, ymax), angle)
        corners = (x1 + 1, y1 + 1, x2, y2)
    difficult = _flag(_text(element, "difficult", where), where)
    return VocObject(name, corners, difficult, turned=corners != (xmin, ymin, xmax, ymax))


def _angle(element: ET.Element) -> float:
    """Return the angle in degrees by which CVAT says that an object's box is turned about its centre."""
    for attribute in element.iterfind("attributes/attribute"):
        if (attribute.findtext("name") or "").strip() == "rotation":
            return as_angle(attribute.findtext("value"))
    return 0.0


def _flag(text: str, where: str) -> bool:
    value = FLAGS.get(text.lower())
    if value is None:
        raise DataError(f"{where}: {shown(repr(text))} stands where a difficult flag should be; write 0 or 1")
    return value


def _number(text: str, where: str) -> float:
    # Not float() alone, which also takes 1_000, nan and the digits of other scripts.
    plain = re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,2})?", text, re.ASCII | re.IGNORECASE)
    if plain and math.isfinite(float(text)):
        return float(text)
    remedy = "write a point instead of the comma" if re.fullmatch(r"[+-]?\d+,\d+", text) else "correct it"
    raise DataError(f"{where}: {shown(repr(text))} stands where a size or a coordinate should be; {remedy}")
