"""Draws the images of the built-in data set: shapes of twelve classes among clutter.

A class is told by its outline alone: fills and textures are drawn alike for all. Objects span a tenfold range
of scale, hide one another and leave the image; strokes and patches of no class lie over and under them.
"""

import colorsys
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

MAX_OBJECTS = 12
SIDES = (12.0, 130.0)  # pixels, the longer side of an object's box
SUPERSAMPLING = 4


def _arc(start: float, end: float, points: int = 48, radius: float = 1.0, x: float = 0.0) -> np.ndarray:
    angles = np.radians(np.linspace(start, end, points))
    return np.stack([x + radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def _regular(corners: int) -> np.ndarray:
    return _arc(-90, 270, corners + 1)[:-1]


def _heart() -> np.ndarray:
    t = np.radians(np.arange(0, 360, 8))
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y], axis=1)


# Closed outlines, of any unit and place: each is stretched, turned and brought to its object's size.
OUTLINES = {
    "arrow": np.array([(-10, -3), (1, -3), (1, -8), (10, 0), (1, 8), (1, 3), (-10, 3)]),
    "bolt": np.array([(-1, -20), (10, -20), (4, -6), (13, -6), (-7, 20), (-2, 2), (-12, 2)]),
    "circle": _arc(0, 360),
    "crescent": np.concatenate([_arc(50, 310), _arc(-79.4, -280.6, radius=0.779, x=0.5)]),
    "cross": np.array([(-3, -10), (3, -10), (3, -3), (10, -3), (10, 3), (3, 3),
                       (3, 10), (-3, 10), (-3, 3), (-10, 3), (-10, -3), (-3, -3)]),
    "heart": _heart(),
    "pentagon": _regular(5),
    "ring": np.concatenate([_arc(0, 360), _arc(360, 0, radius=0.55)]),
    "semicircle": _arc(0, 180),
    "square": _regular(4),
    "star": _regular(10) * np.where(np.arange(10) % 2, 0.45, 1.0)[:, None],
    "triangle": _regular(3),
}


@dataclass
class Shape:
    """An object in an image."""

    name: str
    corners: tuple[int, int, int, int]  # xmin, ymin, xmax, ymax as VOC has them: one-based, inclusive
    whole: float  # its area in pixels, with what lies outside the image
    inside: float  # its area within the image
    visible: np.ndarray  # float32 [height, width]: how much of each pixel it shows in

    @property
    def truncated(self) -> bool:
        return self.inside < 0.99 * self.whole

    @property
    def difficult(self) -> bool:
        return self.visible_part() < 0.25

    def visible_part(self, where=None, coverage=None) -> float:
        """The part of it that shows, or still would, were ``coverage`` of the pixels ``where`` hidden."""
        hidden = 0.0 if where is None else float((self.visible[where] * coverage).sum())
        return (float(self.visible.sum()) - hidden) / self.whole


def draw_image(rng: np.random.Generator) -> tuple[np.ndarray, list[Shape]]:
    """An image, uint8 [height, width, 3], and its 1 … ``MAX_OBJECTS`` objects, few more often than many."""
    long, short = rng.integers(192, 225), rng.integers(150, 190)
    width, height = (long, short) if rng.random() < 0.65 else (short, long)
    image = _background(rng, height, width)
    shapes = []
    for _ in range(rng.integers(1, 6)):
        _add_distractor(rng, image, shapes)
    chances = 0.75 ** np.arange(MAX_OBJECTS)
    wanted = 1 + rng.choice(MAX_OBJECTS, p=chances / chances.sum())
    for _ in range(wanted):
        _add_shape(rng, image, shapes, largest=SIDES[1] * min(1, 1.5 / wanted**0.5))
    for _ in range(rng.integers(0, 4)):
        _add_distractor(rng, image, shapes)
    image += rng.normal(0, rng.uniform(0, 0.025), image.shape[:2])[..., None]
    return (image.clip(0, 1) * 255).round().astype(np.uint8), shapes


def _add_shape(rng, image: np.ndarray, shapes: list[Shape], largest: float) -> None:
    """Paints one more object over the others, where it leaves each of them in sight; gives up if crowded."""
    height, width = image.shape[:2]
    name = str(rng.choice(list(OUTLINES)))
    may_leave_image = rng.random() < 0.25
    hidden = shapes[rng.integers(len(shapes))] if shapes and rng.random() < 0.2 else None
    for _ in range(20):
        side = SIDES[0] * (largest / SIDES[0]) ** (rng.random() ** 0.75)
        points = _posed(rng, OUTLINES[name], side)
        if hidden:
            xmin, ymin, xmax, ymax = hidden.corners
            points += rng.uniform((xmin, ymin), (xmax, ymax))
        else:
            margin = np.zeros(2) if may_leave_image else np.ptp(points, axis=0) / 2
            points += rng.uniform(margin, (width, height) - margin)
        where, coverage, whole = _coverage(width, height, points)
        inside = float(coverage.sum())
        if inside >= 0.3 * whole and all(
            other.visible_part(where, coverage) >= (0.1 if hidden else 0.7) for other in shapes
        ):
            break
    else:
        return
    _paint(rng, image, where, coverage, shapes, outline=points)
    visible = np.zeros((height, width), np.float32)
    visible[where] = coverage
    rows, columns = np.flatnonzero(visible.max(1) > 0.3) + 1, np.flatnonzero(visible.max(0) > 0.3) + 1
    corners = (int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1]))
    shapes.append(Shape(name, corners, whole, inside, visible))


def _add_distractor(rng, image: np.ndarray, shapes: list[Shape]) -> None:
    """Paints a stroke, a scribble, a blob or a jagged patch, unless that would hide an object."""
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
            points = ((1 + sum(waves)) * (np.cos(angles), np.sin(angles))).T
        else:
            angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(7, 11)))
            points = (rng.uniform(0.3, 1.2, len(angles)) * (np.cos(angles), np.sin(angles))).T
        points = _posed(rng, points, side) + rng.uniform((0, 0), (width, height))
    where, coverage, _ = _coverage(width, height, points, stroke)
    if all(shape.visible_part(where, coverage) >= 0.1 for shape in shapes):
        _paint(rng, image, where, coverage, shapes)


def _posed(rng, outline: np.ndarray, side: float) -> np.ndarray:
    """The outline, a little stretched and turned anyhow, in a box of longer side ``side`` about (0, 0)."""
    turn = rng.uniform(0, 2 * np.pi)
    rotation = np.array([(np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))])
    points = outline * (1, rng.uniform(0.8, 1.25)) @ rotation
    points -= (points.max(0) + points.min(0)) / 2
    return points * side / np.ptp(points, axis=0).max()


def _coverage(width: int, height: int, points: np.ndarray, stroke: float = 0.0):
    """A filled polygon, or a stroke of that width along ``points``, anti-aliased.

    Returns where it falls in the image (slices of rows and columns), how much of each pixel there it covers
    (0 … 1), and its whole area with what lies outside the image.
    """
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


def _paint(rng, image, where, coverage, shapes: list[Shape], outline: np.ndarray | None = None) -> None:
    """Paints a texture of two colours that stand out from what is behind; at times draws ``outline``."""
    if not coverage.any():
        return
    height, width = image.shape[:2]
    behind = np.average(image[where], axis=(0, 1), weights=coverage)
    colour, other = _colour(rng, behind, rng.uniform(0.3, 0.7)), _colour(rng, behind, 0.3)
    fill = _texture(rng, *coverage.shape, colour, colour + rng.uniform(0.25, 0.9) * (other - colour))
    if outline is not None and rng.random() < 0.4:
        line_width = rng.uniform(1, 2) + 0.03 * np.ptp(outline)
        line_where, line, _ = _coverage(width, height, np.concatenate([outline, outline[:1]]), line_width)
        everywhere = np.zeros((height, width), np.float32)
        everywhere[line_where] = line
        line_colour = (colour * rng.choice([0.2, 1.8])).clip(0, 1)
        fill += everywhere[where][..., None] * (line_colour - fill)
    image[where] += coverage[..., None] * (fill - image[where])
    for shape in shapes:
        shape.visible[where] *= 1 - coverage


def _colour(rng, away_from: np.ndarray, distance: float) -> np.ndarray:
    """A random colour at least ``distance`` (in RGB of 0 … 1) from another, or the farthest of a dozen."""
    tries = np.array([
        colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.1, 1), rng.uniform(0.15, 1)) for _ in range(12)
    ])
    distances = np.linalg.norm(tries - away_from, axis=1)
    far = np.flatnonzero(distances >= distance)
    return tries[far[0] if len(far) else distances.argmax()]


def _texture(rng, height: int, width: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """An area [height, width, 3] of two colours: flat, striped, checked, dotted, shaded or mottled."""
    turn, period = rng.uniform(0, np.pi), rng.uniform(4, 16)
    y, x = np.mgrid[:height, :width]
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    wave_u, wave_v = np.sin(2 * np.pi * u / period), np.sin(2 * np.pi * v / period)
    kind = rng.choice(["flat", "stripes", "checks", "dots", "gradient", "noise"])
    if kind == "flat":
        share = np.zeros((height, width))
    elif kind == "stripes":
        share = (2 * wave_u + 0.5).clip(0, 1)
    elif kind == "checks":
        share = (3 * wave_u * wave_v + 0.5).clip(0, 1)
    elif kind == "dots":
        share = (2 * (wave_u + wave_v) - 1.5).clip(0, 1)
    elif kind == "gradient":
        share = (u - u.min()) / max(np.ptp(u), 1)
    else:
        share = _noise(rng, height, width)
    return first + share[..., None] * (second - first)


def _noise(rng, height: int, width: int) -> np.ndarray:
    """Smooth noise of several octaves, 0 … 1."""
    total = np.zeros((height, width), np.float32)
    for octave in range(1, 6):
        grid = Image.fromarray(rng.random((2**octave + 1, 2**octave + 1), np.float32))
        total += np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC)) / 1.6**octave
    return (total - total.min()) / max(np.ptp(total), 1e-6)


def _background(rng, height: int, width: int) -> np.ndarray:
    """Muted, uneven ground, float [height, width, 3] of 0 … 1."""
    base = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.5), rng.uniform(0.15, 0.95)))
    shades = (base + rng.normal(0, 0.16, (3, 3))).clip(0, 1)
    ground = _texture(rng, height, width, base, base + rng.uniform(0.2, 0.7) * (shades[0] - base))
    mottled = shades[1] + _noise(rng, height, width)[..., None] * (shades[2] - shades[1])
    return ground + rng.uniform(0.2, 0.9) * (mottled - ground)
