"""What each patch changes in an image, pixel by pixel, and what it must not."""

import math
from collections import Counter
from functools import partial

import pytest
import torch
from torch import Tensor

from src.data.records import ImageRecord, make_record
from src.robustness.adversarial_patch import PatchMaker, PatchOptions, adversarial_patch
from src.robustness.attacked_detector import AttackedDetector
from src.robustness.patches import (
    PatchFacts,
    black_patch,
    boxes_to_patch,
    flip_patch,
    image_generator,
    patch_facts,
    patch_rectangles,
    random_patch,
    summarise_patches,
)
from src.utils.errors import UserError
from tests.robustness.small_detectors import SmallNetwork, small_detector

PATCH = torch.randint(256, (3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
PATCHES = {
    "black": black_patch,
    "random": random_patch,
    "flip": flip_patch,
    "adversarial": partial(adversarial_patch, patch=PATCH),
}
# Inside, at two borders, of one pixel, overlapping the first, beyond the image, of odd width and fractional corners.
BOXES = torch.tensor(
    [
        [10, 10, 30, 22],
        [0, 0, 8, 6],
        [50, 30, 60, 40],
        [40, 5, 41, 6],
        [15, 12, 35, 30],
        [52, -4, 70, 10],
        [3.25, 25.5, 10.25, 36.75],
    ]
)
RECTANGLES = [  # worked out by hand
    [15, 13, 25, 19],
    [2, 2, 6, 5],
    [53, 33, 58, 38],
    [40, 5, 41, 6],
    [20, 17, 30, 26],
    [57, 0, 66, 7],
    [5, 28, 9, 34],
]


def distinct_image() -> Tensor:
    """An image whose pixels all differ from each other and from black."""
    numbers = torch.randperm(40 * 60, generator=torch.Generator().manual_seed(0)).reshape(40, 60) + 1
    return torch.stack([numbers // 256, numbers % 256, 255 - numbers % 200]).to(torch.uint8)


def number(pixels: Tensor) -> Tensor:
    """The numbers that `distinct_image` has coded, [H, W]."""
    return pixels[0].long() * 256 + pixels[1]


def inside(rectangles: list[list[int]], height: int = 40, width: int = 60) -> Tensor:
    """Whether each pixel is in one of the rectangles, found by asking each pixel."""
    result = torch.zeros(height, width, dtype=torch.bool)
    for y in range(height):
        for x in range(width):
            result[y, x] = any(x1 <= x < x2 and y1 <= y < y2 for x1, y1, x2, y2 in rectangles)
    return result


def test_rectangles_are_half_as_wide_and_high_about_the_centre():
    assert patch_rectangles(BOXES, image_generator(0, "a"), size="quarter", place="centre") == RECTANGLES


def test_half_a_side_and_places_inside():
    box = torch.tensor([[10.0, 10.0, 30.0, 22.0]])
    halves = Counter(
        tuple(patch_rectangles(box, image_generator(seed, 5), size="half", place="centre")[0]) for seed in range(200)
    )
    assert halves.keys() == {(15, 10, 25, 22), (10, 13, 30, 19)} and min(halves.values()) > 70
    places = [patch_rectangles(box, image_generator(seed, 5), size="quarter", place="inside")[0] for seed in range(200)]
    assert all(x2 - x1 == 10 and y2 - y1 == 6 for x1, y1, x2, y2 in places)
    assert {x1 for x1, *_ in places} == set(range(10, 21)) and {y1 for _, y1, *_ in places} == set(range(10, 17))
    for wrong in ({"size": "third", "place": "centre"}, {"size": "half", "place": "left"}):
        with pytest.raises(UserError, match="expected one of"):
            patch_rectangles(box, image_generator(0, 0), **wrong)


@pytest.mark.parametrize("name", PATCHES)
def test_only_pixels_of_patches_change(name):
    image = distinct_image()
    before = image.clone()
    result = PATCHES[name](image, BOXES, image_generator(3, "a"))
    assert torch.equal(image, before) and result.dtype == torch.uint8 and result.shape == image.shape
    assert torch.equal(result[:, ~inside(RECTANGLES)], image[:, ~inside(RECTANGLES)])
    assert (result != image).any(0).sum() > 0.7 * inside(RECTANGLES).sum()
    nothing = PATCHES[name](image, torch.empty(0, 4), image_generator(3, "a"))
    assert torch.equal(nothing, image)


@pytest.mark.parametrize("name", PATCHES)
def test_an_image_and_a_seed_give_the_same_patches_in_any_order(name):
    image, perturb = distinct_image(), PATCHES[name]
    keys = [(seed, image_id) for seed in (0, 1) for image_id in ("000001", 1, 2)]
    options = {"size": "half", "place": "inside"}
    first = {key: perturb(image, BOXES, image_generator(*key), **options) for key in keys}
    torch.manual_seed(7)  # torch's own generator has no say
    for key in reversed(keys):
        assert torch.equal(first[key], perturb(image, BOXES, image_generator(*key), **options))
    assert len({tuple(one.flatten().tolist()) for one in first.values()}) == len(keys)


def test_black_patches_are_black():
    result = black_patch(distinct_image(), BOXES, image_generator(0, "a"))
    assert torch.equal((result == 0).all(0), inside(RECTANGLES))


def test_flipped_patches_are_the_clean_pixels_flipped():
    image = distinct_image()
    box, (x1, y1, x2, y2) = BOXES[:1], RECTANGLES[0]
    clean = image[:, y1:y2, x1:x2]
    flips = {"across": clean.flip(2), "down": clean.flip(1), "both": clean.flip(1).flip(2)}
    seen: Counter[str] = Counter()
    for seed in range(150):
        result = flip_patch(image, box, image_generator(seed, "a"))[:, y1:y2, x1:x2]
        seen.update(name for name, expected in flips.items() if torch.equal(result, expected))
    assert seen.total() == 150 and min(seen[name] for name in flips) > 30
    # What lies beyond the border is no part of a patch.
    x1, y1, x2, y2 = 57, 0, 60, 7
    result = flip_patch(image, BOXES[5:6], image_generator(0, "a"))[:, y1:y2, x1:x2]
    assert sorted(number(result).flatten().tolist()) == sorted(number(image[:, y1:y2, x1:x2]).flatten().tolist())
    # Of overlapping patches the last lies on top, and shows the clean image.
    result = flip_patch(image, BOXES[[0, 4]], image_generator(0, "a"))
    x1, y1, x2, y2 = RECTANGLES[4]
    on_top = number(result[:, y1:y2, x1:x2]).flatten()
    assert sorted(on_top.tolist()) == sorted(number(image[:, y1:y2, x1:x2]).flatten().tolist())


def source_of(image: Tensor, result: Tensor, rectangle: list[int]) -> tuple[int, int]:
    """Where the pixels in a rectangle come from: left column and top row of a piece of the clean image."""
    x1, y1, x2, y2 = rectangle
    y, x = divmod(int((number(image) == number(result)[y1, x1]).flatten().nonzero()), image.shape[2])
    assert torch.equal(result[:, y1:y2, x1:x2], image[:, y : y + y2 - y1, x : x + x2 - x1])
    return x, y


def test_random_patches_come_from_all_places_outside_of_the_box():
    image = distinct_image()[:, :14, :18]
    box, rectangle = torch.tensor([[6.0, 4.0, 12.0, 10.0]]), [8, 6, 11, 9]
    free = {(x, y) for x in range(16) for y in range(12) if x + 3 <= 6 or x >= 12 or y + 3 <= 4 or y >= 10}
    draws = 10 * len(free)
    seen = Counter(
        source_of(image, random_patch(image, box, image_generator(seed, 0)), rectangle) for seed in range(draws)
    )
    assert seen.keys() == free
    chi_squared = sum((count - 10) ** 2 / 10 for count in seen.values())
    assert chi_squared < len(free) + 5 * (2 * len(free)) ** 0.5


def test_a_random_patch_without_a_free_place_comes_from_where_it_touches_least():
    image = distinct_image()[:, :20, :20]
    box = torch.tensor([[2.0, 1.0, 19.0, 18.0]])  # 17 × 17, patch 9 × 9: right of it is 1 column, below it 2 rows
    (rectangle,) = patch_rectangles(box, image_generator(0, 0), size="quarter", place="centre")

    def shared(x, y):
        return max(min(x + 9, 19) - max(x, 2), 0) * max(min(y + 9, 18) - max(y, 1), 0)

    least = min(shared(x, y) for x in range(12) for y in range(12))
    sources = {source_of(image, random_patch(image, box, image_generator(seed, 0)), rectangle) for seed in range(40)}
    assert least > 0 and sources == {(x, y) for x in range(12) for y in range(12) if shared(x, y) == least}


def record_of(boxes, difficult=None, crowd=None) -> ImageRecord:
    return make_record("a", "a.png", (60, 40), boxes, [0] * len(boxes), difficult=difficult, crowd=crowd)


def test_facts_are_those_of_the_pixels():
    record = record_of(BOXES.tolist())
    facts = patch_facts(record, image_generator(0, "a"))
    assert facts.covered == pytest.approx(inside(RECTANGLES).double().mean().item())
    assert facts.patches == 7 and facts.without_free_place == 0
    full = patch_facts(record_of([[0, 0, 60, 40], [1, 1, 2, 2]]), image_generator(0, "a"))
    assert (full.patches, full.without_free_place) == (2, 1)
    options = {"size": "half", "place": "inside"}
    black = black_patch(distinct_image(), BOXES, image_generator(4, "a"), **options)
    facts = patch_facts(record, image_generator(4, "a"), **options)
    assert facts.covered == pytest.approx((black == 0).all(0).double().mean().item())


def test_means_are_over_images_and_of_free_places_over_patches():
    facts = [PatchFacts(0.5, 3, 1), PatchFacts(0.0, 0, 0), PatchFacts(0.1, 1, 0)]
    assert summarise_patches(facts) == {"covered": pytest.approx(20), "per_image": 4 / 3, "without_free_place": 25.0}
    assert math.isnan(summarise_patches(facts[1:2])["without_free_place"])


def test_difficult_objects_have_patches_if_wanted_and_crowds_never():
    boxes = [[0, 0, 9, 9], [10, 10, 20, 20], [30, 30, 40, 40]]
    record = record_of(boxes, difficult=[False, True, False], crowd=[False, False, True])
    assert boxes_to_patch(record).tolist() == boxes[:1]
    assert boxes_to_patch(record, difficult=True).tolist() == boxes[:2]
    assert patch_facts(record, image_generator(0, 0), difficult=True).patches == 2


def test_an_adversarial_patch_is_resized_to_its_place_and_cut_at_the_border():
    image = torch.full((3, 40, 60), 7, dtype=torch.uint8)
    patch = torch.zeros(3, 16, 16, dtype=torch.uint8)
    patch[:, :, 8:] = 200  # its right half
    boxes = torch.tensor([[10.0, 10.0, 42.0, 42.0], [44.0, 0.0, 76.0, 32.0]])  # patches of 16 × 16, the second cut
    result = adversarial_patch(image, boxes, image_generator(0, 0), patch=patch)
    assert (result[:, 18:34, 18:26] == 0).all() and (result[:, 18:34, 26:34] == 200).all()
    assert (result[:, 8:24, 52:60] == 0).all() and (result == 7).sum() == 3 * (40 * 60 - 256 - 128)
    small = adversarial_patch(image, torch.tensor([[10.0, 10.0, 18.0, 18.0]]), image_generator(0, 0), patch=patch)
    assert (small != 7).any(0).sum() == 16 and (small[:, 12:16, 12] < 30).all() and (small[:, 12:16, 15] > 170).all()


STILL = {"shift": 0.0, "scale": 0.0, "rotation": 0.0, "brightness": 0.0}


def pasted_in_training(values, boxes, seed, **options):
    """A black image with a patch as training pastes it, in grey levels."""
    side = values.shape[1]
    attacked = AttackedDetector(small_detector(), SmallNetwork(2))
    maker = PatchMaker(attacked, PatchOptions(side=side, **(STILL | options)), seed=0)
    maker.load_state_dict(maker.state_dict() | {"values": values})
    with torch.no_grad():
        return maker._paste(torch.zeros(3, 80, 80), boxes, torch.Generator().manual_seed(seed))


def extent(image):
    """Left, top, right and bottom of what is not black."""
    rows, columns = ((image > 0).any(0).any(dimension).nonzero().flatten().tolist() for dimension in (1, 0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def test_a_patch_in_training_varies_about_that_of_a_test():
    boxes = torch.tensor([[20.0, 10.0, 60.0, 70.0], [61.0, 60.0, 91.0, 100.0]])  # the second patch is cut
    still = pasted_in_training(PATCH / 255, boxes, 0)
    tested = adversarial_patch(torch.zeros(3, 80, 80), boxes, image_generator(0, 0), patch=PATCH)
    assert (still - tested).abs().max() <= 0.51 and still.max() > 200
    box, grey = boxes[:1], torch.full((3, 16, 16), 0.5)  # 20 × 30 pixels about (40, 40)
    shifted = [extent(pasted_in_training(grey, box, seed, shift=0.25)) for seed in range(60)]
    assert all((x2 - x1, y2 - y1) == (20, 30) for x1, y1, x2, y2 in shifted)
    lefts, tops = {x1 for x1, *_ in shifted}, {y1 for _, y1, *_ in shifted}
    assert 20 <= min(lefts) <= 22 and 38 <= max(lefts) <= 40 and 10 <= min(tops) <= 12 and 38 <= max(tops) <= 40
    scaled = [extent(pasted_in_training(grey, box, seed, scale=0.5)) for seed in range(40)]
    widths = {x2 - x1 for x1, _, x2, _ in scaled}
    assert 10 <= min(widths) <= 12 and 28 <= max(widths) <= 30
    for x1, y1, x2, y2 in scaled:
        assert abs(1.5 * (x2 - x1) - (y2 - y1)) <= 1.25 and abs(x1 + x2 - 80) <= 1 and abs(y1 + y2 - 80) <= 1
    tiny = [extent(pasted_in_training(grey, torch.tensor([[40.0, 40, 42, 42]]), seed, scale=0.9)) for seed in range(20)]
    assert {x2 - x1 for x1, _, x2, _ in tiny} == {y2 - y1 for _, y1, _, y2 in tiny} == {1, 2}
    for level, least, most in ((0.9, 0.7, 1.0), (0.1, 0.0, 0.3)):
        lit = [pasted_in_training(grey * 0 + level, box, seed, brightness=0.2)[:, 25:55, 30:50] for seed in range(40)]
        assert all(float(pixels.std()) < 0.01 for pixels in lit)
        means = [float(pixels.mean()) / 255 for pixels in lit]
        assert least <= min(means) + 1e-6 and min(means) < least + 0.02
        assert most - 0.02 < max(means) <= most + 1e-6


def test_a_patch_in_training_is_turned_about_its_centre():
    box = torch.tensor([[10.0, 10.0, 70.0, 70.0]])  # 30 × 30 pixels about (40, 40)
    upper = torch.zeros(3, 16, 16)
    upper[:, :8] = 1.0
    angles = []
    for seed in range(40):
        turned = pasted_in_training(upper, box, seed, rotation=20.0)
        y, x = (place - 39.5 for place in torch.meshgrid(torch.arange(80), torch.arange(80), indexing="ij"))
        weights = turned[0] / 255 * ((x**2 + y**2) < 12**2)  # a half disc, whatever the angle
        assert weights.sum() == pytest.approx(math.pi * 12**2 / 2, rel=0.05)
        angles.append(math.degrees(math.atan2(float((weights * x).sum()), -float((weights * y).sum()))))
    assert -20.5 < min(angles) < -16 and 16 < max(angles) < 20.5
