"""The threshold of the greatest F1."""

import math

import pytest
import torch

from src.data.records import make_record
from src.detectors.detections import Detections
from src.evaluation.f1 import best_f1
from tests.support.exhaustive import EXHAUSTIVE

BOXES = [[0, 0, 10, 10], [20, 20, 40, 40], [50, 50, 90, 90]]


def test_by_hand():
    record = make_record("a", "a.jpg", (100, 100), BOXES, [0, 1, 1], difficult=[False, False, True])
    # By falling score: hit, difficult (not counted), miss, second hit on the same object, hit of another, miss.
    rows = [(0, 0, 0.9), (2, 1, 0.8), (1, 0, 0.7), (0, 0, 0.6), (1, 1, 0.5), (0, 1, 0.4)]
    boxes = torch.tensor([BOXES[box] for box, _, _ in rows], dtype=torch.float32)
    found = Detections(boxes, torch.tensor([s for *_, s in rows]), torch.tensor([label for _, label, _ in rows]))
    # F1 = 2 TP / (detections + 2 objects): 2/3, 2/4, 2/5, 4/6, 4/7; the first of equal ones, midway to the next score.
    assert best_f1([record], [found], ["x", "y"]) == pytest.approx((0.8, 200 / 3))
    tied = Detections(boxes, torch.tensor([0.9, 0.8, 0.7, 0.7, 0.7, 0.4]), found.labels)
    assert best_f1([record], [tied], ["x", "y"]) == pytest.approx((0.8, 200 / 3))
    all_tied = Detections(boxes[[0, 2, 4]], torch.full((3,), 0.5), found.labels[[0, 2, 4]])
    assert best_f1([record], [all_tied], ["x", "y"]) == pytest.approx((0.5, 100 * 4 / 5))


def test_without_a_true_positive_there_is_no_threshold():
    record = make_record("a", "a.jpg", (100, 100), BOXES, [0, 0, 0])
    for boxes in (torch.zeros(0, 4), torch.tensor([[60.0, 0, 70, 10]])):
        found = Detections(boxes, torch.ones(len(boxes)), torch.zeros(len(boxes)).long())
        threshold, f1 = best_f1([record], [found], ["x"])
        assert math.isnan(threshold) and f1 == 0


@pytest.mark.parametrize("seed", range(30 if EXHAUSTIVE else 5))
def test_no_other_threshold_has_a_greater_f1(seed):
    random = torch.Generator().manual_seed(seed)
    records, detections = [], []
    for number in range(6):
        records.append(make_record(number, "a.jpg", (100, 100), BOXES, [0, 1, 0], [False, number == 0, False]))
        boxes = torch.tensor(BOXES, dtype=torch.float32).repeat(3, 1) + 4 * torch.randn(9, 4, generator=random)
        boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2])
        scores = torch.randint(0, 12, (9,), generator=random) / 12  # with ties
        detections.append(Detections(boxes, scores, torch.randint(0, 2, (9,), generator=random)))

    def f1_from(threshold):
        """The F1 of all detections from a threshold on, which then have one score."""
        kept = [one.scores >= threshold for one in detections]
        equal = [
            Detections(one.boxes[keep], torch.ones(int(keep.sum())), one.labels[keep])
            for one, keep in zip(detections, kept, strict=True)
        ]
        return best_f1(records, equal, ["x", "y"])[1]

    threshold, f1 = best_f1(records, detections, ["x", "y"])
    assert f1 == pytest.approx(f1_from(threshold)) and f1 > 0
    assert f1 >= max(f1_from(value / 12) for value in range(12)) - 1e-9
