"""Images that are broken, missing, or not those that were annotated."""

import io
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from tests.data.damage.folders import ALL, COCO, XML, Dice, Folder, Outcome, encoded, kind, reads, refuses, resized
from tests.data.damage.folders import reads_or_refuses as either
from tests.data.damage.images import rename, repaint
from tests.support.layouts import Thing, object_xml, write_file, yolo_lines

NO_IMAGES = (
    b"",
    b"\n",
    b"<html><body>404 Not Found</body></html>",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    b"\xff\xd8\xff\xe0",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"II*\0\x08\0\0\0",
    bytes(2000),
)


@kind(*ALL)
def truncated(folder: Folder, dice: Dice) -> Outcome:
    """What is cut off may be no part of the picture, as PNG's last block."""
    picture = folder.take(dice)
    file_format, options = dice.pick(
        [(name, {}) for name in ("PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "TGA", "JPEG")]
        + [("JPEG2000", {"tile_size": (8, 8)}), ("JPEG", {"progressive": True}), ("TIFF", {"compression": "tiff_lzw"})]
    )
    suffix = {"JPEG": "jpg", "JPEG2000": "jp2", "PNG": "png"}.get(file_format, file_format.lower())
    rename(folder, picture, f"{picture.stem}.{suffix}")
    content = encoded(picture.pixels, file_format, **options)
    tiles = [match.end() for match in re.finditer(b"\xff\x90", content)]  # of JPEG 2000
    write_file(folder.image(picture), content[: dice.pick([dice.number(0, len(content) - 1), *tiles])])
    with Image.open(io.BytesIO(content)) as whole:
        repaint(folder, picture, np.asarray(whole.convert("RGB")))
    return either(picture.name)


@kind(*ALL)
def flipped_bit_in_png(folder: Folder, dice: Dice) -> Outcome:
    """Checksums show it, wherever it is."""
    picture = folder.take(dice)
    content = bytearray(picture.content)
    content[dice.number(0, len(content) - 1)] ^= 1 << dice.number(0, 7)
    write_file(folder.image(picture), bytes(content))
    return either(picture.name)


@kind(*ALL)
def no_image(folder: Folder, dice: Dice) -> Outcome:
    """Something else under its name: nothing, a web page, a pointer of Git LFS, the beginning of a file."""
    picture = folder.take(dice)
    write_file(folder.image(picture), dice.pick(NO_IMAGES))
    return refuses(picture.name)


@kind(*ALL)
def values_without_a_range(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    grey = picture.pixels[..., 0]
    values = dice.pick((grey.astype(np.float32), grey.astype(np.int32) * 300, grey.astype(np.int32) - 300))
    write_file(folder.image(picture), encoded(Image.fromarray(values), "TIFF"))
    return refuses(picture.name)


@kind(*ALL)
def more_pixels_than_memory(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    side = dice.number(20_000, 2**31 - 1)
    content = picture.content
    head = b"IHDR" + struct.pack(">II", side, side) + content[24:29]
    write_file(folder.image(picture), content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:])
    return refuses(picture.name)


@kind("voc", *COCO, "yolo")
def link_to_nothing(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    path = folder.image(picture)
    path.unlink()
    os.symlink(Path("nowhere") / picture.name, path)
    return refuses(picture.name)


@kind(*ALL)
def missing(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    folder.image(picture).unlink()
    if folder.layout == "yolo":
        name = folder.notes(picture).name
        folder.drop(picture)
        return reads("1 label files have no image", name)
    return refuses(picture.name, picture.stem)


@kind(*XML, *COCO)
def resized_since_its_annotation(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    width, height = picture.size
    size = dice.pick([(2 * width, 2 * height), (width + 1, height), (width, 1), (height * 3, width)])
    write_file(folder.image(picture), encoded(Image.new("RGB", size)))
    return refuses(picture.name)


@kind("yolo")
def resized_with_fractions(folder: Folder, dice: Dice) -> Outcome:
    """YOLO's boxes are fractions, and so are of any size."""
    picture = folder.take(dice)
    factor = dice.number(2, 4)
    picture.size = (picture.size[0] * factor, picture.size[1] * factor)
    repaint(folder, picture, picture.pixels.repeat(factor, 0).repeat(factor, 1))
    write_file(folder.image(picture), encoded(picture.pixels))
    for thing in picture.things:
        thing.box = resized(thing.box, factor)
    return reads()


@kind(*ALL)
def one_pixel_high(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    width, name = picture.size[0], picture.things[0].name
    x1 = dice.number(0, width - 4)
    picture.size, picture.things = (width, 1), [Thing(name, (x1, 0, dice.number(x1 + 2, width), 1))]
    repaint(folder, picture, picture.pixels[:1])
    write_file(folder.image(picture), encoded(picture.pixels))
    if folder.layout in XML:
        size = "<size><width>{}</width><height>{}</height></size>".format(*picture.size)
        write_file(folder.notes(picture), f"<annotation>{size}{object_xml(picture.things[0])}</annotation>")
    elif folder.layout == "yolo":
        write_file(folder.notes(picture), yolo_lines(picture, folder.classes)[0])
    else:
        with folder.edited_json(folder.split_of(picture)) as content:
            first, *others = folder.annotations(content, picture)
            content["annotations"] = [entry for entry in content["annotations"] if entry not in others]
            category = next(entry["id"] for entry in content["categories"] if entry["name"] == name)
            first |= {"bbox": picture.things[0].xywh, "area": x1 or 1, "category_id": category}
            picture.things[0].area = x1 or 1
            image = next(entry for entry in content["images"] if entry["file_name"] == picture.name)
            image["height"] = 1
    return reads()
