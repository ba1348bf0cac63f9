"""Reading one image as it should look: upright, in RGB, with 8 bits per channel."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from torchvision import tv_tensors
from torchvision.transforms import v2

from src.data.records import DataError, ImageRecord
from src.data.text import read_bytes, read_each, refuse_pointer

# Pillow warns of images over 89 million pixels, which aerial photographs have, and refuses those of twice as many.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

ORIENTATION = 0x0112  # the EXIF tag
PHOTOMETRIC = 262  # TIFF's tag: whether 0 is white
# How stored pixels become upright, by EXIF orientation; 1 is upright already.
TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TO_STORED = {**TO_UPRIGHT, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
TILE_OF_JPEG2000, END_OF_JPEG2000 = b"\xff\x90", b"\xff\xd9"  # markers that do not occur in coded pixels
ReadImage = Callable[[ImageRecord], tv_tensors.Image]  # `read_image`, or a function that also perturbs what it reads
DARK = 4096  # a 16-bit image whose values stay below this keeps at most 16 of its levels


@dataclass(frozen=True)
class ImageHeader:
    """What an image file says about itself."""

    stored: tuple[int, int]  # (width, height) of the pixels as stored
    orientation: int  # EXIF's, 1 … 8; 1 where the file has none
    mode: str  # Pillow's name of the pixel format, such as RGB, L or I;16

    @property
    def upright(self) -> tuple[int, int]:
        """The width and height of the picture as viewers show it."""
        width, height = self.stored
        return (height, width) if self.orientation >= 5 else (width, height)


def read_header(path: Path) -> ImageHeader:
    """Return size, orientation and mode of an image without decoding it, where its format allows that.

    Raises:
        DataError: the file is not an image that can be read.
    """
    with _open(path) as file:
        return _header(file)


def read_sizes(paths: Sequence[Path]) -> list[tuple[int, int]]:
    """Return the width and height of upright images, without decoding them.

    Raises:
        DataError: images cannot be read; the message names the first of them, and counts the others.
    """
    return read_each(lambda path: read_header(path).upright, paths, "images")


def check_size(annotation: Path, path: Path, size: tuple[int, int]) -> None:
    """Raise a DataError if the size of an image outside which all its boxes lie is not that of its file.

    The image may be left out of training, and so never be compared with its size.

    Args:
        annotation: the file that gives the size.
        path: of the image.
        size: its width and height there.
    """
    header = read_header(path)
    if size not in (header.upright, header.stored):
        raise DataError(
            f"{annotation} gives {path} the size {size[0]}×{size[1]}, outside which all its boxes lie; the image has "
            f"{header.upright[0]}×{header.upright[1]} pixels. Correct width and height"
        )


def read_image(record: ImageRecord) -> tv_tensors.Image:
    """Return an image as uint8 [3, H, W], in RGB, in the position to which its boxes refer.

    That is the upright picture, turned as EXIF's orientation demands, as annotation programs show it; unless only the
    size of the stored pixels agrees with the record's. Transparent parts become white. Greys of 16 bits are divided by
    257, or by what the file's number of bits demands. Of several frames or pages the first is read.

    Raises:
        DataError: the file cannot be read whole, its pixels have no meaning in 8 bits, or its size is not the one its
            annotation gives.
    """
    with _open(record.path) as file:
        _scale_transparent_grey(file)
        header = _header(file)
        turn_upright = _agrees_upright(record, header)
        file.load()
        # For some formats Pillow turns the pixels while it decodes them, and takes the orientation away.
        is_upright = _orientation(file) != header.orientation
        image = _to_rgb(file, record.path)
        if turn_upright != is_upright and header.orientation > 1:
            image = image.transpose((TO_UPRIGHT if turn_upright else TO_STORED)[header.orientation])
    return tv_tensors.Image(v2.functional.pil_to_tensor(image))


def examine_image(record: ImageRecord) -> list[str]:
    """Decode an image whole, and return what is odd about it though it can be used.

    Raises:
        DataError: as `read_image` does, or the checksums in a PNG file are wrong.
    """
    pixels = read_image(record)
    oddities = []
    with _open(record.path) as file:
        has_16_bits = ";16" in str(getattr(file, "tile", ""))  # which says so only until the file is decoded
        frames = getattr(file, "n_frames", 1)
        if frames > 1 and file.format != "MPO":  # cameras add a preview as a second picture
            oddities.append(f"holds {frames} frames or pages, of which the first is used")
        if file.mode.startswith("I") and _grey_range(file) == 65535 and (highest := _greys(file).max()) < DARK:
            oddities.append(
                f"has grey values up to {highest} of 65535, and becomes almost black in 8 bits; stretch its contrast"
            )
        elif has_16_bits and pixels.max() < DARK // 256:  # in colour Pillow keeps the upper 8
            oddities.append("uses at most 12 of its 16 bits, and becomes almost black in 8 bits; stretch its contrast")
        elif _has_alpha(file) and file.convert("RGBA").getchannel("A").getextrema() == (0, 0):
            oddities.append(
                "is transparent everywhere, and becomes white; remove its alpha channel if it hides a picture"
            )
        if file.format == "PNG":
            with _open(record.path) as fresh:  # Pillow verifies only what it has not decoded
                fresh.verify()
        if file.format == "JPEG2000":  # Pillow accepts one that ends in the header of a tile
            content = record.path.read_bytes()
            if content.rfind(END_OF_JPEG2000) < content.rfind(TILE_OF_JPEG2000):
                raise DataError(f"{record.path} is cut off; replace it, or take it off the split's list")
    return oddities


@contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    """Open an image; whatever goes wrong while it is open becomes a DataError."""
    remedy = "replace it, or take it off the split's list"
    try:
        with Image.open(path) as file:
            yield file
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise DataError(f"{path} has more than {limit} million pixels; cut it into tiles or reduce it") from error
    except UnidentifiedImageError as error:
        refuse_pointer(read_bytes(path, 100), path)
        size = path.stat().st_size
        problem = "it is no image of a format that can be read" if size else "it is empty"
        raise DataError(f"{path} cannot be read as an image ({problem}); {remedy}") from error
    except Exception as error:  # on damaged files Pillow's decoders raise anything, from OSError to IndexError
        problem = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"{path} cannot be read as an image ({problem}); {remedy}") from error


def _orientation(file: Image.Image) -> int:
    orientation = file.getexif().get(ORIENTATION, 1)
    return orientation if orientation in TO_UPRIGHT else 1


def _header(file: Image.Image) -> ImageHeader:
    width, height = file.size
    if hasattr(file, "tag_v2"):  # of a TIFF file, `size` may be that of the upright picture
        width, height = file.tag_v2.get(256, width), file.tag_v2.get(257, height)
    return ImageHeader((width, height), _orientation(file), file.mode)


def _agrees_upright(record: ImageRecord, header: ImageHeader) -> bool:
    """Return whether the record's size is that of the upright picture; False if only the stored one agrees.

    Raises:
        DataError: it agrees with neither.
    """
    size = (record.width, record.height)
    if size not in (header.upright, header.stored):
        width, height = header.upright
        raise DataError(
            f"{record.path} has {width}×{height} pixels, but its annotation gives {record.width}×{record.height}, so "
            "that its boxes cannot be trusted; correct the size in the annotation, or restore the image it was made on"
        )
    return size == header.upright


def _to_rgb(image: Image.Image, path: Path) -> Image.Image:
    """Convert an image to RGB with 8 bits per channel."""
    if image.mode == "F":
        raise DataError(f"{path} has floating-point pixels, whose range is unknown; convert it to 8 or 16 bits")
    if image.mode.startswith("I"):
        grey, top = _greys(image), _grey_range(image)
        if grey.min() < 0 or grey.max() > top:
            raise DataError(
                f"{path} has pixel values from {grey.min()} to {grey.max()}, more than 16 bits hold; convert it to "
                "8 or 16 bits"
            )
        return Image.fromarray(((grey.astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)).convert("RGB")
    if _has_alpha(image):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def _scale_transparent_grey(file: Image.Image) -> None:
    """Scale the grey that is transparent in a PNG file of 2 or 4 bits, as Pillow does with the pixels.

    To be called before the file is decoded, as it is for its EXIF data too.
    """
    grey, tile = file.info.get("transparency"), getattr(file, "tile", None)
    bits = {"L;2": 2, "L;4": 4}.get(str(tile[0][-1])) if tile else None
    if bits and isinstance(grey, int):
        file.info["transparency"] = grey * 255 // (2**bits - 1)


def _greys(image: Image.Image) -> np.ndarray:
    """Return the values of a grey image of more than 8 bits, in which 0 is black and what is transparent is white."""
    grey, top = np.asarray(image), _grey_range(image)
    if hasattr(image, "tag_v2") and image.tag_v2.get(PHOTOMETRIC) == 0:  # white is 0
        grey = top - grey
    transparent = image.info.get("transparency")
    return np.where(grey == transparent, top, grey) if isinstance(transparent, int) else grey


def _grey_range(image: Image.Image) -> int:
    """Return the value of white in a grey image of more than 8 bits."""
    bits = image.tag_v2.get(258, (16,))[0] if hasattr(image, "tag_v2") else 16
    return 2**bits - 1 if 8 < bits < 16 else 65535
