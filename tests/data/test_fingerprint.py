"""Telling data sets apart, and saying in what they differ."""

import dataclasses
from pathlib import Path

import pytest
import torch

from src.data.fingerprint import describe, differences, fingerprint_of_version_01
from src.data.records import make_record

RECORD = make_record("a", "a.jpg", (90, 80), boxes=[(1, 2, 30, 40), (5, 6, 70, 80)], labels=[0, 1])
YES_NO = torch.tensor([True, False])
VARIANTS = {
    "the size": {"width": 91},
    "boxes": {"boxes": RECORD.boxes + torch.tensor([0.0, 0, 0, 0.5])},
    "class labels": {"labels": torch.tensor([1, 0])},
    "difficult or crowd flags": {"difficult": YES_NO},
    "areas": {"area": RECORD.area + 1},
}


def described(*records, classes=("cat", "dog"), hashes="00"):
    facts, images = describe(records, [RECORD], classes, hashes={RECORD.path: hashes})
    return {**facts, "details": {"images": images}}


@pytest.mark.parametrize("what", VARIANTS)
def test_whatever_decides_numbers_changes_the_fingerprint_and_is_named(what):
    before, after = described(RECORD), described(dataclasses.replace(RECORD, **VARIANTS[what]))
    assert before["fingerprint"] != after["fingerprint"]
    assert differences(before, after) == f"{what} of 1 training image (a)"
    differing = [part for part in before["parts"] if before["parts"][part] != after["parts"][part]]
    assert len(differing) == 1


def test_crowds_and_difficult_objects_are_told_apart():
    flagged = [dataclasses.replace(RECORD, **{flag: YES_NO}) for flag in ("difficult", "crowd")]
    assert len({described(record)["fingerprint"] for record in (RECORD, *flagged)}) == 3


def test_pixels_classes_and_the_list_of_images_count():
    before = described(RECORD)
    other = dataclasses.replace(RECORD, image_id="b")
    cases = {
        "the picture of 1 training image (a); the picture of 1 test image (a)": described(RECORD, hashes="01"),
        "the class names (dog → horse)": described(RECORD, classes=("cat", "horse")),
        "the order of the classes (now dog, cat)": described(RECORD, classes=("dog", "cat")),
        "the classes (new: cow)": described(RECORD, classes=("cat", "dog", "cow")),
        "1 training image is new (b)": described(RECORD, other),
        "1 training image is new (b); 1 training image is gone (a)": described(other),
    }
    for words, after in cases.items():
        assert after["fingerprint"] != before["fingerprint"] and differences(before, after) == words
    swapped = described(RECORD, other), described(other, RECORD)
    assert differences(*swapped) == "the order of the training images"
    assert swapped[0]["fingerprint"] != swapped[1]["fingerprint"]


def test_many_images_are_counted_and_the_first_named():
    records = [dataclasses.replace(RECORD, image_id=number) for number in range(12)]
    moved = [dataclasses.replace(record, boxes=record.boxes + 1) for record in records]
    words = differences(described(*records), described(*records[:1], *moved[1:]))
    assert words == "boxes of 11 training images (1, 2, 3, …)"


def test_the_same_data_elsewhere_are_the_same():
    moved = dataclasses.replace(RECORD, path=Path("there/a.jpg"))
    there, _ = describe([moved], [moved], ["cat"], hashes={moved.path: "00"})
    here, _ = describe([RECORD], [RECORD], ["cat"], hashes={RECORD.path: "00"})
    assert here == there


def test_the_fingerprint_of_version_01_is_what_it_was():
    record = make_record("a", "a.jpg", (9, 9), boxes=[[1, 2, 3, 4]], labels=[0])
    assert fingerprint_of_version_01([record]) == "be4393b34f2e5b17"
