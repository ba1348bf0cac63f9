"""Test images seen at several scales and mirrored."""

import pytest
import torch
from PIL import Image

from src.data.loading import inference_batches
from src.data.records import make_record
from src.data.transforms import inference_views
from src.detectors.detections import Detections
from src.detectors.detector import build_detector
from src.detectors.inference import image_outputs, merge_views, mirror, predict
from tests.detectors.test_ssd import OPTIONS


def sizes_of(views, height, width):
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    return [tuple(view.transform(image).shape[-2:]) for view in views]


def test_views_are_the_scales_and_their_mirror_images():
    kept = inference_views((512, 500, 1000), scales=[250, 500], mirror=True)
    assert sizes_of(kept, 100, 300) == [(166, 500)] * 2 + [(333, 1000)] * 2  # the limit of the longer side binds
    assert [view.mirrored for view in kept] == [False, True] * 2
    assert sizes_of(inference_views((512, None, 1000), scales=[96, 128]), 100, 300) == [(96, 96), (128, 128)]
    (single,) = inference_views((512, 500, 1000))
    assert sizes_of([single], 100, 100) == [(500, 500)] and not single.mirrored


def test_a_mirrored_view_shows_mirrored_pixels():
    image = torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plain, mirrored = inference_views((64, None, 64), mirror=True)
    assert torch.equal(mirrored.transform(image), plain.transform(image).flip(-1))


def test_merged_detections_are_those_of_nms_over_all_views():
    def of(*rows):
        boxes = torch.tensor([box for box, _, _ in rows], dtype=torch.float)
        return Detections(boxes, torch.tensor([s for _, s, _ in rows]), torch.tensor([label for _, _, label in rows]))

    first = of(([0, 0, 10, 10], 0.5, 0), ([50, 50, 70, 70], 0.4, 1))
    second = of(([1, 0, 11, 10], 0.75, 0), ([50, 50, 70, 70], 0.25, 0))
    merged = merge_views([{7: first}, {7: second}], nms_iou=0.5, max_detections=10)[7]
    assert merged.scores.tolist() == pytest.approx([0.75, 0.4, 0.25]) and merged.labels.tolist() == [0, 1, 0]
    assert merged.boxes[0].tolist() == [1, 0, 11, 10]
    assert len(merge_views([{7: first}, {7: second}], nms_iou=0.5, max_detections=2)[7].scores) == 2
    assert mirror(first, 100).boxes.tolist() == [[90, 0, 100, 10], [30, 50, 50, 70]]


def test_with_mirrored_views_an_image_and_its_mirror_image_have_mirrored_detections(tmp_path):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 255, (64, 64, 3), dtype=torch.uint8, generator=generator)
    records = []
    for name, values in (("a", pixels), ("b", pixels.flip(1))):
        Image.fromarray(values.numpy()).save(tmp_path / f"{name}.png")
        records.append(make_record(name, tmp_path / f"{name}.png", (64, 64), [], []))
    torch.manual_seed(0)
    detector = build_detector(OPTIONS | {"score_threshold": 0.0}, 64)
    network = detector.build_network(3)
    by_view = []
    for view in inference_views((64, None, 64), mirror=True):
        batches = inference_batches(records, view.transform, 2, workers=0)
        outputs = image_outputs(network, detector, batches, torch.device("cpu"))
        detections = predict(outputs, records, detector.detect)
        by_view.append({i: mirror(one, 64) if view.mirrored else one for i, one in detections.items()})
    merged = merge_views(by_view, nms_iou=1.0, max_detections=10_000)
    assert len(merged[0].scores) > 50
    first, second = (sorted_rows(one) for one in (merged[0], mirror(merged[1], 64)))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-3)
    assert not torch.allclose(sorted_rows(by_view[0][0]), sorted_rows(mirror(by_view[0][1], 64)), rtol=0, atol=1e-3)


def sorted_rows(detections):
    rows = torch.cat([detections.labels[:, None], detections.scores[:, None], detections.boxes], dim=1)
    return torch.tensor(sorted(rows.double().round(decimals=4).tolist()))
