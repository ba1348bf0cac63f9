"""The score threshold of best F1 against a plain loop over thresholds."""

import math

import pytest
import torch

from src.evaluation.f1 import best_f1
from src.evaluation.voc_ap import match_detections
from tests.evaluation.metric_inputs import AWAY, BOX, SIDE_BY_SIDE, detected, truth

CLASSES = ["a", "b"]


def f1_at(threshold, records, detections):
    """F1 in percent: of each image, class and object, one detection that reaches the threshold is right."""
    right = reach = 0
    for record, of_image in zip(records, detections, strict=True):
        boxes = [tuple(box) for box in record.boxes.tolist()]
        found = set()
        rows = zip(of_image.boxes.tolist(), of_image.scores.tolist(), of_image.labels.tolist(), strict=True)
        for box, score, label in rows:
            if score < threshold:
                continue
            same = [i for i, one in enumerate(boxes) if one == tuple(box) and int(record.labels[i]) == label]
            if same and record.difficult[same[0]]:
                continue
            reach += 1
            if same and same[0] not in found:
                right += 1
                found.add(same[0])
    return 200 * right / (reach + sum(int((~record.difficult).sum()) for record in records))


def random_problem(seed):
    """Images with objects side by side; detections are exact or elsewhere, with scores of which some are equal."""
    generator = torch.Generator().manual_seed(seed)

    def draw(limit):
        return int(torch.randint(limit, (), generator=generator))

    records, detections = [], []
    for _ in range(4):
        boxes = SIDE_BY_SIDE[: draw(6)]
        labels = [draw(2) for _ in boxes]
        records.append(truth(boxes, labels, difficult=[draw(5) == 0 for _ in boxes]))
        hits = [
            (box, draw(20) / 20 + 0.05, label if draw(5) else 1 - label)
            for box, label in zip(boxes, labels, strict=True)
        ]
        hits += [(boxes[draw(len(boxes))] if boxes else AWAY, draw(15) / 20 + 0.05, draw(2)) for _ in range(draw(4))]
        hits.sort(key=lambda hit: -hit[1])
        columns = list(zip(*hits, strict=True)) if hits else [(), (), ()]
        detections.append(detected(*(list(column) for column in columns)))
    return records, detections


def test_no_threshold_has_a_better_f1():
    thresholds = set()
    for seed in range(40):
        records, detections = random_problem(seed)
        threshold, f1 = best_f1(records, detections, CLASSES)
        if math.isnan(threshold):
            assert f1 == 0 and all(f1_at(t / 100, records, detections) == 0 for t in range(0, 110, 5))
            continue
        scores = torch.cat([of_image.scores for of_image in detections]).unique().tolist()
        values = [f1_at(score, records, detections) for score in scores]
        assert f1 == pytest.approx(max(values)) and f1_at(threshold, records, detections) == pytest.approx(f1)
        best = max(score for score, value in zip(scores, values, strict=True) if value > max(values) - 1e-9)
        assert threshold <= best  # the highest of the best, but for what counts nowhere
        assert all(
            f1_at(score, records, detections) == pytest.approx(f1) for score in scores if threshold <= score < best
        )
        thresholds.add(threshold)
    assert len(thresholds) > 10


def test_the_threshold_is_midway_and_difficult_objects_count_nowhere():
    records = [truth([BOX, AWAY], difficult=[False, True])]
    detections = [detected([BOX, AWAY, (200, 200, 300, 300)], [0.75, 0.5, 0.25])]
    assert best_f1(records, detections, CLASSES) == (0.5, 100.0)
    assert best_f1(records, [detected([BOX], [0.75])], CLASSES) == (0.75, 100.0)
    scores, right, objects = match_detections(records, detections, 2)
    assert (scores.tolist(), right.tolist(), objects) == ([0.75, 0.25], [True, False], 1)


def test_a_detector_that_finds_nothing_has_no_threshold():
    for detections in ([detected()], [detected([AWAY], [0.9])]):
        threshold, f1 = best_f1([truth([BOX])], detections, CLASSES)
        assert math.isnan(threshold) and f1 == 0


def test_detections_that_cannot_be_ranked_are_refused():
    with pytest.raises(ValueError, match="scores hold NaN"):
        best_f1([truth([BOX])], [detected([BOX], [math.nan])], CLASSES)
