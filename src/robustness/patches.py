"""Patches over the objects of an image: black, copied from elsewhere in the image, or flipped (Table 3).

All work on the original image in its own pixels, before it is resized. What is pasted comes from the clean image, so
where patches overlap, the order of the objects decides only which one lies on top.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from src.data.loading import derive_seed
from src.data.records import ImageRecord
from src.utils.errors import UserError

SIZES = ("quarter", "half")  # of the area of an object's box
PLACES = ("centre", "inside")
# left-right, top-bottom, both: the dimensions of [3, H, W] that are flipped
FLIPS = ((2,), (1,), (1, 2))


@dataclass(frozen=True)
class PatchFacts:
    """Facts about the patches of an image that do not need its pixels."""

    covered: float  # share of the image's area
    patches: int
    without_free_place: int  # patches for which the image has no place of that size outside their object's box


def image_generator(seed: int, image_id: str | int) -> torch.Generator:
    """Return the random generator of an image's perturbation, which depends only on the seed and the image."""
    return torch.Generator().manual_seed(derive_seed(seed, image_id))


def boxes_to_patch(record: ImageRecord, *, difficult: bool = False) -> Tensor:
    """Return the boxes [n, 4] of the objects that get a patch: no crowds, and difficult ones only if wanted."""
    return record.boxes[~record.crowd if difficult else ~(record.crowd | record.difficult)]


def black_patch(
    image: Tensor, boxes: Tensor, generator: torch.Generator, *, size: str = "quarter", place: str = "centre"
) -> Tensor:
    """Return an image with a black patch over each object.

    Args:
        image: uint8 [3, H, W]; it is left as it is.
        boxes: float [n, 4] of the objects, in pixels of the image.
        generator: of `image_generator`.
        size: see `patch_rectangles`.
        place: see `patch_rectangles`.
    """
    result = image.clone()
    for rectangle in _rectangles_inside(image, boxes, generator, size, place):
        result[_pixels(rectangle)] = 0
    return result


def random_patch(
    image: Tensor, boxes: Tensor, generator: torch.Generator, *, size: str = "quarter", place: str = "centre"
) -> Tensor:
    """Return an image with a piece of itself, from outside of the object's box, over each object.

    The piece is chosen uniformly among those of the patch's size that have no pixel in common with the object's box or,
    if there are none, among those that have the fewest. Arguments as for `black_patch`.
    """
    result = image.clone()
    rectangles = _rectangles_inside(image, boxes, generator, size, place)
    for box, (x1, y1, x2, y2) in zip(boxes, rectangles, strict=True):
        x, y = _draw_free_place(box, (x2 - x1, y2 - y1), (image.shape[1], image.shape[2]), generator)
        result[:, y1:y2, x1:x2] = image[:, y : y + y2 - y1, x : x + x2 - x1]
    return result


def flip_patch(
    image: Tensor, boxes: Tensor, generator: torch.Generator, *, size: str = "quarter", place: str = "centre"
) -> Tensor:
    """Return an image in which the patch over each object is itself, flipped.

    Left and right, top and bottom, or both are swapped, with equal probability. Arguments as for `black_patch`.
    """
    result = image.clone()
    for rectangle in _rectangles_inside(image, boxes, generator, size, place):
        dimensions = FLIPS[_draw_below(len(FLIPS), generator)]
        result[_pixels(rectangle)] = image[_pixels(rectangle)].flip(dimensions)
    return result


def patch_rectangles(boxes: Tensor, generator: torch.Generator, *, size: str, place: str) -> list[list[int]]:
    """Return the patch of each object as (x1, y1, x2, y2) in whole pixels; it may extend beyond the image.

    Args:
        boxes: float [n, 4] of the objects in pixels.
        generator: of random sizes and places.
        size: "quarter": half the box's width and half its height. "half": half its width or half its height, the other
            whole, with equal probability. Rounded to pixels, at least one.
        place: "centre" of the box, or anywhere "inside" it.

    Raises:
        UserError: `size` or `place` is not one of these.
    """
    for name, value, allowed in (("size", size, SIZES), ("place", place, PLACES)):
        if value not in allowed:
            raise UserError(f"attack.{name}={value}: expected one of {', '.join(allowed)}")
    rectangles = []
    for x1, y1, x2, y2 in boxes.double().tolist():
        halve_width = halve_height = True
        if size == "half":
            halve_width = _draw_below(2, generator) == 0
            halve_height = not halve_width
        width = max(_round((x2 - x1) / (2 if halve_width else 1)), 1)
        height = max(_round((y2 - y1) / (2 if halve_height else 1)), 1)
        across, down = (0.5, 0.5) if place == "centre" else torch.rand(2, generator=generator).tolist()
        left, top = _round(x1 + across * (x2 - x1 - width)), _round(y1 + down * (y2 - y1 - height))
        rectangles.append([left, top, left + width, top + height])
    return rectangles


def patch_facts(
    record: ImageRecord,
    generator: torch.Generator,
    *,
    size: str = "quarter",
    place: str = "centre",
    difficult: bool = False,
) -> PatchFacts:
    """Return facts about an image's patches, from its record and a new generator of `image_generator`."""
    boxes = boxes_to_patch(record, difficult=difficult)
    image_size = record.height, record.width
    rectangles = clip_rectangles(patch_rectangles(boxes, generator, size=size, place=place), image_size)
    covered = torch.zeros(image_size, dtype=torch.bool)
    without_free_place = 0
    for box, (x1, y1, x2, y2) in zip(boxes, rectangles, strict=True):
        covered[y1:y2, x1:x2] = True
        across, down = _overlaps(box, (x2 - x1, y2 - y1), image_size)
        without_free_place += int(across.min() * down.min() > 0)
    return PatchFacts(covered.double().mean().item(), len(boxes), without_free_place)


def summarise_patches(facts: Sequence[PatchFacts]) -> dict[str, float]:
    """Return means over images, at least one: `covered`, percent of the area, and `per_image`, patches.

    `without_free_place` is the percentage of all patches that have none; NaN if there is no patch.
    """
    patches = sum(one.patches for one in facts)
    return {
        "covered": 100 * fmean(one.covered for one in facts),
        "per_image": patches / len(facts),
        "without_free_place": 100 * sum(one.without_free_place for one in facts) / patches if patches else math.nan,
    }


def _rectangles_inside(
    image: Tensor, boxes: Tensor, generator: torch.Generator, size: str, place: str
) -> list[list[int]]:
    """Return each object's patch, clipped to the image."""
    return clip_rectangles(patch_rectangles(boxes, generator, size=size, place=place), (image.shape[1], image.shape[2]))


def clip_rectangles(rectangles: list[list[int]], image_size: tuple[int, int]) -> list[list[int]]:
    """Clip rectangles (x1, y1, x2, y2) to an image of (height, width)."""
    height, width = image_size
    limits = (width, height, width, height)
    return [[min(max(value, 0), limit) for value, limit in zip(one, limits, strict=True)] for one in rectangles]


def _pixels(rectangle: list[int]) -> tuple[slice, slice, slice]:
    """Return the index of a rectangle's pixels in [3, H, W]."""
    x1, y1, x2, y2 = rectangle
    return slice(None), slice(y1, y2), slice(x1, x2)


def _overlaps(box: Tensor, size: tuple[int, int], image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return how many columns and rows of pixels a piece of an image shares with a box, for each place of the piece.

    Args:
        box: float [4].
        size: width and height of the piece.
        image_size: height and width of the image.

    Returns:
        int64 [W − width + 1] by the piece's left column, and int64 [H − height + 1] by its top row. The pixels shared
        are the product of the two.
    """
    height, width = image_size
    x1, y1 = box[:2].floor().long().tolist()
    x2, y2 = box[2:].ceil().long().tolist()
    left, top = torch.arange(width - size[0] + 1), torch.arange(height - size[1] + 1)
    across = ((left + size[0]).clamp(max=x2) - left.clamp(min=x1)).clamp(min=0)
    down = ((top + size[1]).clamp(max=y2) - top.clamp(min=y1)).clamp(min=0)
    return across, down


def _draw_free_place(
    box: Tensor, size: tuple[int, int], image_size: tuple[int, int], generator: torch.Generator
) -> tuple[int, int]:
    """Return left column and top row of a piece of an image, drawn from those that share the fewest pixels with a box.

    Arguments as for `_overlaps`.
    """
    across, down = _overlaps(box, size, image_size)
    free_columns, columns = (across == across.min()).nonzero().squeeze(1), torch.arange(len(across))
    free_rows, held_rows = (down == down.min()).nonzero().squeeze(1), (down > down.min()).nonzero().squeeze(1)
    # The product is least where both factors are; a factor of 0 is enough, whatever the other is. So on free rows any
    # column will do, and on the others the free ones.
    on_free_rows = columns if down.min() == 0 else free_columns
    on_held_rows = free_columns if across.min() == 0 else free_columns[:0]
    drawn = _draw_below(len(free_rows) * len(on_free_rows) + len(held_rows) * len(on_held_rows), generator)
    if drawn < len(free_rows) * len(on_free_rows):
        return int(on_free_rows[drawn % len(on_free_rows)]), int(free_rows[drawn // len(on_free_rows)])
    drawn -= len(free_rows) * len(on_free_rows)
    return int(on_held_rows[drawn % len(on_held_rows)]), int(held_rows[drawn // len(on_held_rows)])


def _draw_below(limit: int, generator: torch.Generator) -> int:
    return int(torch.randint(limit, (), generator=generator))


def _round(value: float) -> int:
    """Round halves up, where Python's `round` would take the even neighbour."""
    return int((value + 0.5) // 1)
