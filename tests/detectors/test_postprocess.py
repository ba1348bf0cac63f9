"""Detections from a detector's outputs."""

import pytest
import torch
from torch import nn

from src.config.validate import resolve
from src.data.loading import InferenceBatch
from src.data.records import make_record
from src.detectors.anchors import make_anchors
from src.detectors.detector import Detector, build_detector
from src.detectors.inference import image_outputs, predict
from src.detectors.postprocess import ImageOutputs, detect, detect_by_class
from src.detectors.retinanet import anchor_grids
from tests.support.configurations import make_config

RETINANET = Detector(lambda outputs: ScoresOfTheImage(), anchor_grids, detect)


def outputs_of(anchors, scores, size, classes=2):
    """Return outputs with the given scores by (anchor, label), and next to no score elsewhere."""
    all_scores = torch.full((sum(len(level) for level in anchors), classes), 1e-9)
    for (anchor, label), score in scores.items():
        all_scores[anchor, label] = score
    return ImageOutputs(0, size, scores=all_scores, offsets=torch.zeros(len(all_scores), 4), anchors=anchors)


def test_detections_pass_the_threshold_and_nms_and_are_clipped():
    anchors = [torch.tensor([[0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 50, 50.0]]), torch.tensor([[60, 60, 90, 90.0]])]
    scores = {(0, 0): 0.9, (1, 0): 0.8, (1, 1): 0.7, (2, 0): 0.005, (3, 1): 0.005}
    outputs = outputs_of(anchors, scores, (80, 85))
    detections = detect(outputs)
    # The second box of class 0 is suppressed, that of class 1 is not. Only the last level keeps scores below .01.
    assert detections.scores[:3].tolist() == pytest.approx([0.9, 0.7, 0.005])
    assert detections.labels[:3].tolist() == [0, 1, 1]
    assert detections.boxes[2].tolist() == [60, 60, 85, 80]
    assert len(detect(outputs, max_detections=1).scores) == 1
    assert len(detect(outputs, score_threshold=0.001).scores) >= 4


def test_candidates_are_limited_on_each_level():
    anchors = [torch.tensor([[20.0 * i, 0, 20.0 * i + 10, 10] for i in range(50)])] * 2
    scores, offsets = torch.full((100, 1), 0.5), torch.zeros(100, 4)
    outputs = ImageOutputs(0, (2000, 2000), scores=scores, offsets=offsets, anchors=anchors)
    assert len(detect(outputs, candidates_per_level=7, nms_iou=1.0).scores) == 14


def test_ssd_detects_class_by_class_with_its_own_caps():
    anchors = [torch.tensor([[0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 50, 50.0]]), torch.tensor([[60, 60, 90, 90.0]])]
    scores = {(0, 0): 0.9, (1, 0): 0.8, (1, 1): 0.7, (2, 0): 0.02, (3, 1): 0.005}
    outputs = outputs_of(anchors, scores, (80, 85))
    detections = detect_by_class(outputs)
    # The second box of class 0 is suppressed, that of class 1 is not. No level keeps scores below .01.
    assert detections.scores.tolist() == pytest.approx([0.9, 0.7, 0.02])
    assert detections.labels.tolist() == [0, 1, 0] and detections.boxes[1].tolist() == [1, 0, 11, 10]
    # Of each class two anchors enter: of class 0 the two that suppress each other.
    assert detect_by_class(outputs, candidates_per_class=2).scores.tolist() == pytest.approx([0.9, 0.7])
    assert len(detect_by_class(outputs, nms_iou=1.0).scores) == 4
    assert len(detect_by_class(outputs, max_detections=1).scores) == 1
    low = detect_by_class(outputs, score_threshold=0.001)
    assert low.boxes[-1].tolist() == [60, 60, 85, 80] and low.scores[-1].item() == pytest.approx(0.005)


class ScoresOfTheImage(nn.Module):
    """A detector whose logits are the first numbers of the image, and whose boxes are the anchors."""

    def forward(self, images):
        count = sum(len(level) for level in make_anchors(anchor_grids(*images.shape[-2:])))
        return images.flatten(1)[:, :count, None], torch.zeros(len(images), count, 4)


def test_outputs_are_those_of_each_image_with_its_size_and_anchors():
    torch.manual_seed(0)
    images = torch.randn(2, 3, 64, 96)
    batch = InferenceBatch(images, sizes=[(60, 96), (64, 90)], indexes=[5, 3])
    first, second = image_outputs(RETINANET.build_network(1), RETINANET, [batch], torch.device("cpu"))
    assert (first.index, first.size, second.index, second.size) == (5, (60, 96), 3, (64, 90))
    for outputs, image in ((first, images[0]), (second, images[1])):
        torch.testing.assert_close(outputs.scores[:, 0], image.flatten()[: len(outputs.scores)].sigmoid())
        assert all(map(torch.equal, outputs.anchors, make_anchors(anchor_grids(64, 96)))) and len(outputs.anchors) == 5


def test_predictions_are_in_pixels_of_the_original_image():
    # The detector's input is half as wide and a third as high as the original.
    record = make_record("a", "a.jpg", (200, 240), boxes=[], labels=[])
    outputs = outputs_of([torch.tensor([[10, 20, 30, 60.0]])], {(0, 1): 0.5}, (80, 100))
    (detections,) = predict([outputs], [record], detect).values()
    assert detections.boxes[0].tolist() == [20, 60, 60, 180]
    assert detections.labels[0] == 1 and detections.scores[0].item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("model", "cap", "capped", "above"),
    [("retinanet", "candidates_per_level", 14, 10), ("ssd", "candidates_per_class", 7, 0)],
)
def test_a_detector_detects_with_its_options(model, cap, capped, above):
    record = make_record("a", "a.jpg", (200, 200), boxes=[], labels=[])
    anchors = [torch.tensor([[20.0 * i, 0, 20.0 * i + 15, 15] for i in range(10)])] * 2
    outputs = ImageOutputs(0, (200, 200), scores=torch.full((20, 1), 0.5), offsets=torch.zeros(20, 4), anchors=anchors)
    usual = resolve(make_config(f"model={model}")).model

    def count(**options):
        detector = build_detector({**usual, "nms_iou": 1.0, **options}, 96)
        return len(predict([outputs], [record], detector.detect)[0].scores)

    assert count() == 20 and count(nms_iou=0.5) == 10 and count(max_detections=3) == 3
    assert count(**{cap: 7}) == capped
    assert count(score_threshold=0.5) == above  # which must be exceeded, but not on RetinaNet's last level
