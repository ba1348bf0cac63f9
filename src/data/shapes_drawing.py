"""Drawing the images of the built-in data set: shapes of ten classes among clutter.

Only its outline identifies a class for certain. As in photographs, each class also has a usual colour, which most of
its objects have, and other objects may have too. Objects span a tenfold range of scale, hide one another and extend
beyond the image; strokes and patches of no class lie over and under them. So that a small detector learns within
minutes, the ground and the distractors are duller than objects, and objects are turned by small angles only.
"""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

MAX_OBJECTS = 12
SIDES = (14.0, 140.0)  # pixels, the longer side of an object's box
LARGEST_TURN = 25  # degrees, to either side
OBJECT_VALUES, DISTRACTOR_VALUES, GROUND_VALUES = (0.7, 1.0), (0.3, 0.7), (0.25, 0.6)  # V of HSV
USUAL_COLOUR_FRACTION = 0.95  # of a class's objects
SUPERSAMPLING = 4

Area = tuple[slice, slice]  # rows and columns of an image


def _arc(start: float, end: float, points: int = 48, radius: float = 1.0, x: float = 0.0) -> np.ndarray:
    angles = np.radians(np.linspace(start, end, points))
    return np.stack([x + radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def _regular(corners: int) -> np.ndarray:
    return _arc(-90, 270, corners + 1)[:-1]


def _heart() -> np.ndarray:
    t = np.radians(np.arange(0, 360, 8))
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y], axis=1)


_CIRCLE = _arc(0, 360)

# Closed outlines [points, 2], in any unit and position: each is stretched, turned and scaled to its object's size.
OUTLINES = {
    "arrow": np.array([(-10, -3), (1, -3), (1, -8), (10, 0), (1, 8), (1, 3), (-10, 3)]),
    "bolt": np.array([(-1, -20), (10, -20), (4, -6), (13, -6), (-7, 20), (-2, 2), (-12, 2)]),
    "circle": _CIRCLE,
    "crescent": np.concatenate([_arc(50, 310), _arc(-79.4, -280.6, radius=0.779, x=0.5)]),
    "cross": np.array(
        [(-3, -10), (3, -10), (3, -3), (10, -3), (10, 3), (3, 3)]
        + [(3, 10), (-3, 10), (-3, 3), (-10, 3), (-10, -3), (-3, -3)]
    ),
    "heart": _heart(),
    "ring": np.concatenate([_CIRCLE, 0.55 * _CIRCLE[::-1]]),
    "square": _regular(4),
    "star": _regular(10) * np.where(np.arange(10) % 2, 0.45, 1.0)[:, None],
    "triangle": _regular(3),
}

# RGB from 0 to 1.
USUAL_COLOURS = {
    "arrow": (0.9, 0.1, 0.1),
    "bolt": (1.0, 0.9, 0.1),
    "circle": (0.1, 0.8, 0.1),
    "crescent": (0.95, 0.95, 0.95),
    "cross": (0.1, 0.25, 1.0),
    "heart": (0.95, 0.15, 0.9),
    "ring": (0.1, 0.9, 0.95),
    "square": (0.05, 0.05, 0.05),
    "star": (1.0, 0.5, 0.0),
    "triangle": (0.45, 0.05, 0.75),
}


@dataclass
class Shape:
    """An object in an image."""

    name: str
    corners: tuple[int, int, int, int]  # xmin, ymin, xmax, ymax in VOC's convention: one-based, inclusive
    whole: float  # its area in pixels, including what lies outside the image
    inside: float  # its area within the image, in pixels
    visible: np.ndarray  # float32 [height, width]: the fraction of each pixel that it visibly covers

    @property
    def truncated(self) -> bool:
        """Whether the object extends beyond the image."""
        return self.inside < 0.99 * self.whole

    @property
    def difficult(self) -> bool:
        """Whether less than a quarter of the object is visible."""
        return self.visible_fraction() < 0.25

    def visible_fraction(self) -> float:
        """Return the fraction of the object's area that is visible."""
        return float(self.visible.sum()) / self.whole

    def visible_fraction_under(self, area: Area, coverage: np.ndarray) -> float:
        """Return the fraction that stays visible if `coverage`, from 0 to 1, of each pixel in `area` is hidden."""
        return (float(self.visible.sum()) - float((self.visible[area] * coverage).sum())) / self.whole


def draw_image(rng: np.random.Generator) -> tuple[np.ndarray, list[Shape]]:
    """Return an image, uint8 [height, width, 3], and its objects, at most `MAX_OBJECTS`."""
    long, short = int(rng.integers(192, 225)), int(rng.integers(150, 190))
    width, height = (long, short) if rng.random() < 0.65 else (short, long)
    image = _background(rng, height, width)
    shapes: list[Shape] = []
    for _ in range(rng.integers(1, 5)):
        _add_distractor(rng, image, shapes)
    for _ in range(rng.integers(1, MAX_OBJECTS + 1)):
        _add_shape(rng, image, shapes)
    for _ in range(rng.integers(0, 3)):
        _add_distractor(rng, image, shapes)
    image += rng.normal(0, rng.uniform(0, 0.015), image.shape[:2])[..., None]
    return (image.clip(0, 1) * 255).round().astype(np.uint8), shapes


def _add_shape(rng: np.random.Generator, image: np.ndarray, shapes: list[Shape]) -> None:
    """Paint one more object over the others where each of them remains visible; give up after twenty attempts."""
    height, width = image.shape[:2]
    name = str(rng.choice(list(OUTLINES)))
    may_leave_image = rng.random() < 0.25
    hidden = shapes[rng.integers(len(shapes))] if shapes and rng.random() < 0.12 else None
    for _ in range(20):
        side = SIDES[0] * (SIDES[1] / SIDES[0]) ** rng.beta(3, 4)
        points = _posed(rng, OUTLINES[name], side)
        if hidden:
            xmin, ymin, xmax, ymax = hidden.corners
            points += rng.uniform((xmin, ymin), (xmax, ymax))
        else:
            margin = np.zeros(2) if may_leave_image else np.ptp(points, axis=0) / 2
            points += rng.uniform(margin, (width, height) - margin)
        area, coverage, whole = _coverage((height, width), points)
        inside = float(coverage.sum())
        if inside >= 0.3 * whole and all(
            other.visible_fraction_under(area, coverage) >= (0.1 if hidden else 0.7) for other in shapes
        ):
            break
    else:
        return
    first = _colour(rng, OBJECT_VALUES)
    if rng.random() < USUAL_COLOUR_FRACTION:
        first = (np.array(USUAL_COLOURS[name]) + rng.normal(0, 0.05, 3)).clip(0, 1)
    fill = _texture(rng, coverage.shape, first=first, second=_colour(rng, OBJECT_VALUES))
    if rng.random() < 0.3:
        line_colour = _colour(rng, OBJECT_VALUES) * rng.choice([0.5, 1.0])
        line_width = rng.uniform(1, 2) + 0.03 * np.ptp(points)
        # A ring has two outlines, and no line from one to the other.
        for contour in np.split(points, [len(_CIRCLE)]) if name == "ring" else [points]:
            closed = np.concatenate([contour, contour[:1]])
            line_area, line, _ = _coverage((height, width), closed, stroke=line_width)
            line_in_image = np.zeros((height, width), np.float32)
            line_in_image[line_area] = line
            fill += line_in_image[area][..., None] * (line_colour - fill)
    _paint(image, shapes, area, coverage=coverage, fill=fill)
    visible = np.zeros((height, width), np.float32)
    visible[area] = coverage
    rows, columns = np.flatnonzero(visible.max(1) > 0.3) + 1, np.flatnonzero(visible.max(0) > 0.3) + 1
    corners = (int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1]))
    shapes.append(Shape(name, corners, whole=whole, inside=inside, visible=visible))


def _add_distractor(rng: np.random.Generator, image: np.ndarray, shapes: list[Shape]) -> None:
    """Paint a stroke, a scribble, a blob or a jagged patch, unless that would hide an object."""
    height, width = image.shape[:2]
    kind = rng.choice(["stroke", "scribble", "blob", "patch"])
    side, stroke = np.exp(rng.uniform(*np.log((20, 100)))), 0.0
    if kind == "stroke":
        ends = rng.uniform((0, 0), (width, height), (3, 2))
        t = np.linspace(0, 1, 16)[:, None]
        points = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * ends[1] + t**2 * ends[2]
        stroke = rng.uniform(1, 5)
    else:
        if kind == "scribble":
            turns = rng.integers(5, 12)
            points = np.stack([np.linspace(-1, 1, turns), (-1.0) ** np.arange(turns)], axis=1)
            points += rng.normal(0, 0.12, points.shape)
            stroke = rng.uniform(1, 2.5)
        elif kind == "blob":
            angles = np.radians(np.arange(0, 360, 6))
            waves = [rng.uniform(0.1, 0.3) * np.cos(k * angles + rng.uniform(0, 6.28)) for k in (2, 3, 5)]
            points = ((1 + np.sum(waves, axis=0)) * (np.cos(angles), np.sin(angles))).T
        else:
            angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(7, 11)))
            points = (rng.uniform(0.3, 1.2, len(angles)) * (np.cos(angles), np.sin(angles))).T
        points = _posed(rng, points, side) + rng.uniform((0, 0), (width, height))
    area, coverage, _ = _coverage((height, width), points, stroke=stroke)
    if all(shape.visible_fraction_under(area, coverage) >= 0.1 for shape in shapes):
        first, second = (_colour(rng, DISTRACTOR_VALUES, saturations=(0.05, 0.4)) for _ in range(2))
        fill = _texture(rng, coverage.shape, first=first, second=second)
        _paint(image, shapes, area, coverage=coverage, fill=fill)


def _posed(rng: np.random.Generator, outline: np.ndarray, side: float) -> np.ndarray:
    """Return an outline, a little stretched and turned, in a box about (0, 0) whose longer side is `side` pixels."""
    turn = np.radians(rng.uniform(-LARGEST_TURN, LARGEST_TURN))
    rotation = np.array([(np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))])
    points = outline * (1, rng.uniform(0.8, 1.25)) @ rotation
    points -= (points.max(0) + points.min(0)) / 2
    return points * side / np.ptp(points, axis=0).max()


def _coverage(size: tuple[int, int], points: np.ndarray, *, stroke: float = 0.0) -> tuple[Area, np.ndarray, float]:
    """Rasterise a filled polygon, or a stroke along a path, with anti-aliasing.

    Args:
        size: height and width of the image.
        points: (x, y) [points, 2] of the polygon or path.
        stroke: width of the stroke in pixels; 0 for a polygon.

    Returns:
        The part of the image that it falls in, the fraction of each pixel there that it covers, and its whole area in
        pixels, including what lies outside the image.
    """
    height, width = size
    low = np.floor(points.min(0) - stroke - 1).astype(int)
    high = np.ceil(points.max(0) + stroke + 1).astype(int)
    picture = Image.new("L", tuple(((high - low) * SUPERSAMPLING).tolist()))
    path = [tuple(point) for point in ((points - low) * SUPERSAMPLING).tolist()]
    if stroke:
        ImageDraw.Draw(picture).line(path, 255, round(stroke * SUPERSAMPLING), joint="curve")
    else:
        ImageDraw.Draw(picture).polygon(path, 255)
    coverage = np.asarray(picture.reduce(SUPERSAMPLING), np.float32) / 255
    (left, top), (right, bottom) = np.clip(low, 0, (width, height)), np.clip(high, 0, (width, height))
    part = coverage[top - low[1] : bottom - low[1], left - low[0] : right - low[0]]
    return (slice(top, bottom), slice(left, right)), part, float(coverage.sum())


def _paint(image: np.ndarray, shapes: list[Shape], area: Area, *, coverage: np.ndarray, fill: np.ndarray) -> None:
    """Blend `fill` into an area of the image, over the shapes that are visible in it."""
    image[area] += coverage[..., None] * (fill - image[area])
    for shape in shapes:
        shape.visible[area] *= 1 - coverage


def _colour(
    rng: np.random.Generator, values: tuple[float, float], saturations: tuple[float, float] = (0.1, 0.8)
) -> np.ndarray:
    """Return a random RGB colour [3] from 0 to 1, with V and S of HSV in the given ranges."""
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturations), rng.uniform(*values)))


def _texture(rng: np.random.Generator, size: Sequence[int], *, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return an area [height, width, 3] of the first colour, with a pattern or shades towards the second."""
    height, width = size
    turn, period = rng.uniform(0, np.pi), rng.uniform(4, 16)
    y, x = np.mgrid[:height, :width]
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    wave_u, wave_v = np.sin(2 * np.pi * u / period), np.sin(2 * np.pi * v / period)
    second = first + rng.uniform(0.05, 0.4) * (second - first)
    kind = rng.choice(["flat", "stripes", "checks", "dots", "gradient", "noise"])
    if kind == "flat":
        weight = np.zeros((height, width))
    elif kind == "stripes":
        weight = (2 * wave_u + 0.5).clip(0, 1)
    elif kind == "checks":
        weight = (3 * wave_u * wave_v + 0.5).clip(0, 1)
    elif kind == "dots":
        weight = (2 * (wave_u + wave_v) - 1.5).clip(0, 1)
    elif kind == "gradient":
        weight = (u - u.min()) / max(np.ptp(u), 1)
    else:
        weight = _noise(rng, height, width)
    return first + weight[..., None] * (second - first)


def _noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return smooth noise [height, width] of several octaves, from 0 to 1."""
    total = np.zeros((height, width), np.float32)
    for octave in range(1, 6):
        grid = Image.fromarray(rng.random((2**octave + 1, 2**octave + 1), np.float32))
        total += np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC)) / 1.6**octave
    return (total - total.min()) / max(np.ptp(total), 1e-6)


def _background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return dark, uneven ground, float [height, width, 3] from 0 to 1."""
    base = _colour(rng, GROUND_VALUES, saturations=(0.05, 0.4))
    shades = (base + rng.normal(0, 0.1, (3, 3))).clip(0, 1)
    ground = _texture(rng, (height, width), first=base, second=shades[0])
    mottled = shades[1] + _noise(rng, height, width)[..., None] * (shades[2] - shades[1])
    return ground + rng.uniform(0.2, 0.9) * (mottled - ground)
