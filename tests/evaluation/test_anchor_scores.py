"""The table of anchors by IoU and score."""

import torch

from src.data.records import make_record
from src.detectors.postprocess import ImageOutputs
from src.evaluation.anchor_scores import BINS, add_anchor_scores


def outputs(index, anchors, scores, size=(100, 100)):
    anchors = torch.tensor(anchors, dtype=torch.float32)
    return ImageOutputs(
        index,
        size,
        scores=torch.tensor(scores),
        offsets=torch.zeros(len(anchors), 4),
        anchors=[anchors[:1], anchors[1:]],
    )


def anchor_scores(images, records):
    counts = torch.zeros(BINS, BINS, dtype=torch.int64)
    assert [id(image) for image in add_anchor_scores(images, records, counts)] == list(map(id, images))
    return counts


def nonzero_cells(counts):
    return {tuple(cell): int(counts[tuple(cell)]) for cell in counts.nonzero().tolist()}


def test_an_anchor_is_counted_by_its_iou_and_the_score_for_its_ground_truths_class():
    # The image was seen at half its width and a quarter of its height, and so are the boxes beside the anchors.
    record = make_record(0, "x", (240, 400), boxes=[[0, 0, 80, 160], [100, 200, 200, 400]], labels=[1, 0])
    anchors = [[0, 0, 40, 40], [0, 0, 40, 20], [50, 50, 100, 75], [0, 60, 10, 70]]
    scores = [[0.9, 0.31], [0.9, 1.0], [0.77, 0.9], [0.05, 0.11]]
    counts = anchor_scores([outputs(0, anchors, scores, size=(100, 120))], [record])
    # IoU 1 of class 1, 0.5 twice, and one anchor that overlaps nothing: its higher score counts.
    assert nonzero_cells(counts) == {(49, 15): 1, (25, 49): 1, (25, 38): 1, (0, 5): 1}


def test_images_add_up_and_what_is_not_trained_on_does_not_count():
    records = [
        make_record(0, "x", (100, 100), boxes=[[0, 0, 10, 10]], labels=[0]),
        make_record(1, "x", (100, 100), boxes=[], labels=[]),
        make_record(
            2, "x", (100, 100), boxes=[[0, 0, 10, 10], [20, 20, 30, 30]], labels=[0, 0], difficult=[False, True]
        ),
    ]
    anchors, scores = [[20, 20, 30, 30], [0, 0, 10, 10]], [[0.5], [0.6]]
    images = [outputs(index, anchors, scores) for index in range(3)]
    assert nonzero_cells(anchor_scores(images, records)) == {(0, 25): 2, (49, 30): 2}
    assert int(anchor_scores(images[1:2], records).sum()) == 0
