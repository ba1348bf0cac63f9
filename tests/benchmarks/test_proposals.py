"""The recall of proposals beside random anchors."""

import torch

from benchmarks.proposals import proposal_recall
from src.data.records import make_record
from src.detectors.postprocess import ImageOutputs


def outputs(index, anchors, objectness, size=(100, 100)):
    anchors, scores = torch.tensor(anchors, dtype=torch.float32), torch.tensor(objectness)[:, None]
    return ImageOutputs(index, size, scores, torch.zeros(len(anchors), 4), [anchors[:1], anchors[1:]])


def test_objects_are_reached_by_an_anchor_of_iou_a_half():
    # The first image was seen at half its width and a quarter of its height. Of its three objects no anchor reaches
    # the last, which is difficult in the second image.
    boxes = [[0, 0, 80, 160], [100, 200, 200, 400], [0, 300, 20, 400]]
    records = [
        make_record(0, "x", (240, 400), boxes=boxes, labels=[1, 0, 2]),
        make_record(1, "y", (100, 100), boxes=[[0, 0, 40, 40], [9, 9, 12, 12]], labels=[0, 0], difficult=[False, True]),
    ]
    anchors = [[0, 0, 40, 20], [0, 0, 40, 19], [50, 50, 100, 100], [80, 0, 90, 10]]
    images = [outputs(0, anchors, [0.8, 0.9, 0.2, 0.1], size=(100, 120)), outputs(1, anchors, [0.1, 0.2, 0.3, 0.3])]
    recalls = proposal_recall(images, records, [1, 2, 3, 4, 9])
    assert [recalls[count].proposals for count in recalls] == [0, 0.25, 0.5, 0.75, 0.75]
    assert all(recall.all == 0.75 for recall in recalls.values())
    assert recalls[4].random == recalls[9].random == 0.75 and recalls[1].random <= recalls[3].random <= 0.75


def test_a_perfect_rpn_reaches_everything_with_as_many_anchors_as_objects_and_a_random_choice_little():
    rows, columns = torch.meshgrid(torch.arange(30), torch.arange(30), indexing="ij")
    anchors = torch.stack([columns, rows, columns + 1, rows + 1], 2).reshape(-1, 4) * 10
    objects = [7, 100, 500]
    record = make_record(0, "x", (300, 300), boxes=anchors[objects].tolist(), labels=[0, 0, 0])
    objectness = torch.zeros(900).index_fill(0, torch.tensor(objects), 0.9)
    images = [outputs(0, anchors.tolist(), objectness.tolist(), size=(300, 300)) for _ in range(100)]
    recall = proposal_recall(images, [record], [3])[3]
    assert recall.proposals == recall.all == 1 and 0 < recall.random < 0.02  # 3 of 900 in the mean
