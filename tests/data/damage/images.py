"""Images that are turned, or in other colours and formats."""

import struct
import zlib

import numpy as np
from PIL import Image

from tests.data.damage.folders import ALL, COCO, XML, Dice, Folder, Outcome, encoded, kind, reads
from tests.data.damage.folders import reads_or_refuses as either
from tests.support.layouts import Picture, write_file

LOSSLESS = {"png": "PNG", "bmp": "BMP", "webp": "WEBP", "tif": "TIFF", "tiff": "TIFF", "ppm": "PPM", "jp2": "JPEG2000"}
WITH_EXIF = ("PNG", "TIFF", "WEBP")
# The picture as it is stored, from the upright one, by EXIF's orientation.
STORED = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


def exif(orientation: int) -> bytes:
    """Return EXIF data with an orientation."""
    data = Image.Exif()
    data[0x0112] = orientation
    return data.tobytes()


def rename(folder: Folder, picture: Picture, name: str) -> None:
    """Give an image another name of the same stem, wherever that is written."""
    old = folder.image(picture)
    if folder.layout in COCO:
        with folder.edited_image(picture) as entry:
            entry["file_name"] = name
    picture.name = name
    old.rename(folder.image(picture))


def repaint(folder: Folder, picture: Picture, pixels: np.ndarray) -> None:
    """Note that an image shows other pixels."""
    picture.pixels = np.ascontiguousarray(pixels, dtype=np.uint8)


@kind(*ALL)
def turned_by_exif(folder: Folder, dice: Dice) -> Outcome:
    """Boxes refer to the upright picture, as viewers and annotation programs show it."""
    picture = folder.take(dice)
    orientation = dice.number(2, 8)
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](picture.pixels)))
    write_file(folder.image(picture), encoded(stored, dice.pick(WITH_EXIF), exif=exif(orientation)))
    return reads()


@kind(*ALL)
def turned_by_exif_without_a_size(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    orientation = dice.number(2, 8)
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](picture.pixels)))
    write_file(folder.image(picture), encoded(stored, dice.pick(WITH_EXIF), exif=exif(orientation)))
    return without_size(folder, picture)


def without_size(folder: Folder, picture: Picture) -> Outcome:
    """Take the image's size out of its annotation."""
    if folder.layout in XML:
        text = folder.notes(picture).read_text()
        start, end = text.index("<size>"), text.index("</size>") + len("</size>")
        write_file(folder.notes(picture), text[:start] + text[end:])
        return reads("1 XML files give no image size", folder.notes(picture).name)
    if folder.layout in COCO:
        with folder.edited_image(picture) as entry:
            del entry["width"]
        return reads("read the sizes of 1 images", picture.name)
    return reads()


@kind(*XML, *COCO)
def annotated_as_stored(folder: Folder, dice: Dice) -> Outcome:
    """The size shows that the boxes refer to the pixels as stored, which EXIF would turn."""
    picture = folder.take(dice)
    data = exif(dice.number(5, 8))
    write_file(folder.image(picture), encoded(picture.pixels, dice.pick(WITH_EXIF), exif=data))
    return reads()


@kind(*ALL)
def broken_exif(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    good = exif(3)[:24]  # without the orientation
    data = dice.pick((b"Exif\0\0", b"Exif\0\0II", b"junk", good[: dice.number(7, len(good))], bytes(30)))
    write_file(folder.image(picture), encoded(picture.pixels, dice.pick(("PNG", "WEBP")), exif=data))
    return either(picture.name)


@kind(*ALL)
def other_colours(folder: Folder, dice: Dice) -> Outcome:
    """Palette, grey, one bit, 16 bits, transparency, CMYK: all become RGB of 8 bits."""
    picture = folder.take(dice)
    grey = picture.pixels[..., 0]
    few = picture.pixels // 128 * 255  # of eight colours
    repeated = np.repeat(grey[..., None], 3, axis=2)
    mask = np.where(grey > 99, 255, 0).astype(np.uint8)
    white = np.where(mask[..., None] == 255, picture.pixels, 255)
    white_grey = np.where(mask[..., None] == 255, repeated, 255)
    wide = grey.astype(np.uint16) * 257
    image, pixels, options = {
        "grey": (Image.fromarray(grey), repeated, {}),
        "grey of 16 bits": (Image.fromarray(wide), repeated, {}),
        "grey of 16 bits in TIFF": (Image.fromarray(wide), repeated, {"file_format": "TIFF"}),
        "grey of 16 bits in JPEG 2000": (Image.fromarray(wide), repeated, {"file_format": "JPEG2000"}),
        "one bit": (Image.fromarray(grey > 127), np.where(repeated > 127, 255, 0), {}),
        "palette": (Image.fromarray(few).quantize(8), few, {}),
        "palette in GIF": (Image.fromarray(few).quantize(8), few, {"file_format": "GIF"}),
        "palette in BMP": (Image.fromarray(few).quantize(8), few, {"file_format": "BMP"}),
        "alpha": (Image.fromarray(np.dstack([picture.pixels, mask])), white, {}),
        "alpha in WebP": (Image.fromarray(np.dstack([picture.pixels, mask])), white, {"file_format": "WEBP"}),
        "grey and alpha": (Image.fromarray(np.dstack([grey, mask])), white_grey, {}),
        "CMYK": (Image.fromarray(np.dstack([255 - few, 0 * grey]), "CMYK"), few, {"file_format": "TIFF"}),
    }[dice.pick(list(COLOURS))]
    write_file(folder.image(picture), encoded(image, **options))
    repaint(folder, picture, pixels)
    return reads()


COLOURS = ("grey", "grey of 16 bits", "grey of 16 bits in TIFF", "grey of 16 bits in JPEG 2000", "one bit", "palette")
COLOURS += ("palette in GIF", "palette in BMP", "alpha", "alpha in WebP", "grey and alpha", "CMYK")


@kind(*ALL)
def colours_that_are_packed_otherwise(folder: Folder, dice: Dice) -> Outcome:
    """Files as other programs write them: by hand, as Pillow cannot."""
    picture = folder.take(dice)
    height, width = picture.pixels.shape[:2]
    grey = picture.pixels[..., 0]
    wide, key = grey.astype(">u2") * 257, int(grey[0, 0])
    without_key = np.where(grey == key, 255, grey)
    two_bits = grey // 64
    without_1 = np.where(two_bits == 1, 255, 85 * two_bits)
    packed = np.packbits(np.unpackbits(two_bits[..., None], axis=2)[..., 6:].reshape(height, -1), axis=1)
    name, data, shown = dice.pick(
        (
            ("png", png(wide.tobytes(), width, 16, 0), grey),
            ("png", png(wide.tobytes(), width, 16, 0, struct.pack(">H", key * 257)), without_key),
            ("png", png(packed.tobytes(), width, 2, 0), two_bits * 85),
            ("png", png(packed.tobytes(), width, 2, 0, struct.pack(">H", 1)), without_1),
            ("tif", tiff((65535 - wide).astype("<u2").tobytes(), width, 16, photometric=0), grey),
            ("tif", tiff(wide.astype("<u2").tobytes(), width, 16, photometric=1), grey),
            ("tif", tiff((255 - grey).tobytes(), width, 8, photometric=0), grey),
            ("pgm", b"P5 %d %d 65535\n" % (width, height) + wide.tobytes(), grey),
            ("pgm", b"P5 %d %d 255\n" % (width, height) + grey.tobytes(), grey),
        )
    )
    rename(folder, picture, f"{picture.stem}.{name}")
    write_file(folder.image(picture), data)
    repaint(folder, picture, np.repeat(shown[..., None], 3, axis=2))
    return reads()


def png(rows: bytes, width: int, bits: int, colour_type: int, key: bytes = b"") -> bytes:
    """Return a PNG file; `key` is the colour that is transparent."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    stride = -(-width * bits * {0: 1, 2: 3}[colour_type] // 8)
    lines = b"".join(b"\0" + rows[start : start + stride] for start in range(0, len(rows), stride))
    head = struct.pack(">IIBBBBB", width, len(rows) // stride, bits, colour_type, 0, 0, 0)
    transparent = chunk(b"tRNS", key) if key else b""
    body = chunk(b"IHDR", head) + transparent + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(data: bytes, width: int, bits: int, photometric: int) -> bytes:
    """Return a grey TIFF file in one strip; white is 0 where `photometric` is 0."""
    height = len(data) // (width * bits // 8)
    values = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8 + 2 + 9 * 12 + 4}
    values |= {277: 1, 278: height, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(values.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(values)) + entries + struct.pack("<I", 0) + data


@kind(*ALL)
def other_format(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    suffix = dice.pick(list(LOSSLESS))
    rename(folder, picture, f"{picture.stem}.{dice.pick((suffix, suffix.upper()))}")
    write_file(folder.image(picture), encoded(picture.pixels, LOSSLESS[suffix]))
    return reads()


@kind(*ALL)
def suffix_of_another_format(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    rename(folder, picture, f"{picture.stem}.{dice.pick(('jpg', 'png', 'bmp', 'tif', 'jpeg'))}")
    write_file(folder.image(picture), encoded(picture.pixels, dice.pick(list(LOSSLESS.values()))))
    return reads()


@kind(*ALL)
def several_frames(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    second = Image.fromarray(255 - picture.pixels)
    file_format = dice.pick(("TIFF", "WEBP", "PNG"))
    more = {"save_all": True, "append_images": [second]}
    write_file(folder.image(picture), encoded(picture.pixels, file_format, **more))
    return reads("holds 2 frames or pages, of which the first is used", picture.name)


@kind(*ALL)
def dark_in_16_bits(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    grey = picture.pixels[..., 0].astype(np.uint16) * dice.number(1, 16)
    write_file(folder.image(picture), encoded(Image.fromarray(grey)))
    repaint(folder, picture, np.repeat((grey / 257 + 0.5).astype(np.uint8)[..., None], 3, axis=2))
    return reads("becomes almost black", picture.name)


@kind(*ALL)
def transparent_everywhere(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    alpha = np.zeros_like(picture.pixels[..., :1])
    write_file(folder.image(picture), encoded(np.dstack([picture.pixels, alpha])))
    repaint(folder, picture, np.full_like(picture.pixels, 255))
    return reads("is transparent everywhere", picture.name)
