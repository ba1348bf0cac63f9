"""Attacks on detectors that are really trained."""

import math
from pathlib import Path

import pytest
import torch

from src.data.loading import derive_seed
from src.data.records import make_record
from src.detectors.detections import Detections
from src.evaluation.coco_metrics import evaluate_detections
from src.robustness.adversarial_patch import PatchMaker, PatchOptions, adversarial_patch
from src.robustness.deepfool import deepfool, is_lost
from src.robustness.patches import image_generator
from tests.robustness.small_detectors import CLASSES, SIDE, make_images, trained_detector, training_batch

pytestmark = pytest.mark.slow


@torch.no_grad()
def detect(attacked, image) -> Detections:
    """The detections on an image that is given to the network alone."""
    logits, offsets = attacked.outputs(image[None].float())
    return attacked.detections(logits[0], offsets[0], (SIDE, SIDE))


@pytest.mark.parametrize("loss", ["focal", "ohem"])
def test_each_perturbation_does_what_it_says_and_shrunk_it_mostly_does_not(loss):
    attacked, threshold = trained_detector(0, loss=loss), 0.3
    does = still_does = 0
    for image, boxes, labels in zip(*make_images(5, seed=99), strict=True):
        result = deepfool(attacked, image, (boxes, labels), threshold=threshold)
        found = result.objects + [result.everything] * (len(result.objects) > 1)
        assert result.smallest is not None and all(one.image is not None for one in found)
        for one in found:
            assert one.image.dtype == torch.float32 and one.image.min() >= 0 and one.image.max() <= 255

            def all_lost(changed, objects=one.objects, boxes=boxes, labels=labels):
                detections = detect(attacked, changed)
                return all(is_lost(detections, boxes[i], int(labels[i]), threshold) for i in objects)

            assert not all_lost(image) and all_lost(one.image)
            does += 1
            still_does += all_lost(image + 0.95 * (one.image - image))
        assert result.everything.l2 > 0.99 * max(one.l2 for one in result.objects)
    assert does > 8 and still_does < 0.3 * does


def make_patch(attacked, steps, *, maker=None):
    maker = maker or PatchMaker(attacked, PatchOptions(side=16), seed=0)
    data = make_images(32, seed=7)
    while maker.steps < steps:
        chosen = torch.arange(8) + 8 * (maker.steps % 4)
        maker.step(training_batch(*(part[chosen] for part in data), attacked.detector.normalisation))
    return maker


def ap50(attacked, patch=None):
    images, boxes, labels = make_images(24, seed=123)
    records, detections = [], []
    for number, image in enumerate(images.to(torch.uint8)):
        if patch is not None:
            image = adversarial_patch(image, boxes[number], image_generator(0, number), patch=patch)
        records.append(
            make_record(number, Path("a.png"), (SIDE, SIDE), boxes[number].tolist(), labels[number].tolist())
        )
        detections.append(detect(attacked, image))
    return evaluate_detections(records, detections, [str(number) for number in range(CLASSES)])["AP50"]


def test_white_box_patches_cost_more_than_transferred_ones_and_these_more_than_noise():
    attacked, other = trained_detector(0), trained_detector(0, loss="ohem")
    noise = torch.randint(256, (3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(derive_seed(0)))
    clean, with_noise = ap50(attacked), ap50(attacked, noise)
    white_box, transferred = (ap50(attacked, make_patch(one, 40).patch) for one in (attacked, other))
    assert clean > 80 and white_box < transferred < with_noise


def test_an_interrupted_patch_goes_on_as_if_nothing_had_happened(tmp_path):
    attacked = trained_detector(0)
    whole = make_patch(attacked, 4)
    torch.save(make_patch(attacked, 2).state_dict(), tmp_path / "state.pt")
    again = PatchMaker(attacked, PatchOptions(side=16), seed=0)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(make_patch(attacked, 4, maker=again).patch, whole.patch)
    finished = PatchMaker(attacked, PatchOptions(side=16), seed=0)
    finished.load_state_dict(whole.state_dict())
    assert finished.loss == again.loss == whole.loss and not math.isnan(whole.loss)
    assert whole.steps == again.steps == 4 and not torch.equal(whole.patch, make_patch(attacked, 2).patch)
    assert not torch.equal(
        make_patch(attacked, 0, maker=PatchMaker(attacked, PatchOptions(side=16), seed=1)).patch, whole.patch
    )
