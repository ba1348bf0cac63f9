"""DeepFool on linear detectors, whose least perturbations are known in closed form."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.optimize import minimize
from torch import nn

from src.data.records import make_record
from src.data.transforms import IMAGENET, inference_resize
from src.detectors.anchors import AnchorGrid
from src.detectors.detections import Detections
from src.detectors.detector import Detector
from src.detectors.postprocess import detect
from src.robustness.attacked_detector import AttackedDetector
from src.robustness.deepfool import DeepFoolResult, Perturbation, deepfool, is_lost, least_step
from src.robustness.deepfool_images import choose_images, deepfool_images, summarise

SIDE = 32
OVERSHOOT = 0.02
STD = 255 * torch.tensor(IMAGENET.std, dtype=torch.float64)[:, None, None]


class Linear(nn.Module):
    """Logits that are linear in the pixels, of 2 × 2 anchors whose boxes are the anchors themselves."""

    def __init__(self, outputs, weights, bias):
        super().__init__()
        self.shape = 4, outputs
        self.layer = nn.Linear(3 * SIDE * SIDE, 4 * outputs)
        with torch.no_grad():
            self.layer.weight.copy_(weights.flatten(1))
            self.layer.bias.copy_(bias.flatten())

    def forward(self, images):
        logits = self.layer(images.flatten(1)).reshape(-1, *self.shape)
        return logits, images.new_zeros(len(images), 4, 4)


def linear_detector(weights, bias, *, background_output=False):
    """A detector with the weights [4, outputs, 3, H, W] of grey levels, and its logits [4, outputs] on grey images."""
    outputs = weights.shape[1]
    grid = AnchorGrid(2, 2, SIDE // 2, torch.tensor([[12.0, 12.0]]))
    network = Linear(outputs, (weights * STD).flatten(0, 1), bias)
    detector = Detector(lambda outputs: network, lambda height, width: [grid], partial(detect, score_threshold=0.0))
    return AttackedDetector(detector, network, background_output)


def random_problem(seed, *, label_logits=(1.0, 2.0, 0.5, 1.5)):
    """A grey image, weights and biases with which each anchor detects the object on it of label anchor mod 2."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(60, 196, (3, SIDE, SIDE), generator=generator).float()
    weights = torch.randn(4, 2, 3, SIDE, SIDE, generator=generator, dtype=torch.float64) / 1000
    wanted = -0.5 - torch.rand(4, 2, generator=generator, dtype=torch.float64)
    for anchor in range(4):
        wanted[anchor, anchor % 2] = label_logits[anchor]
    mean = 255 * torch.tensor(IMAGENET.mean, dtype=torch.float64)[:, None, None]
    return image, weights, wanted - (weights * (image.double() - mean)).flatten(2).sum(2)


def objects(count):
    centres = [(8, 8), (24, 8), (8, 24), (24, 24)][:count]
    boxes = torch.tensor([[x - 6, y - 6, x + 6, y + 6] for x, y in centres]).float()
    return boxes, torch.arange(count) % 2


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.6])
def test_the_nearest_of_two_hyperplanes_is_reached(threshold):
    for seed in range(6):
        image, weights, bias = random_problem(seed)
        attacked = linear_detector(weights, bias)
        result = deepfool(attacked, image, objects(4), threshold=threshold)
        logits = attacked.outputs(image[None])[0][0].double()
        assert [one.objects for one in result.objects] == [(0,), (1,), (2,), (3,)]
        for anchor, found in enumerate(result.objects):
            label = anchor % 2
            own, other = weights[anchor, label], weights[anchor, 1 - label]
            margin = logits[anchor, label] - math.log(threshold / (1 - threshold))
            to_none = margin / own.norm()
            to_other = (logits[anchor, label] - logits[anchor, 1 - label]) / (own - other).norm()
            expected = (1 + OVERSHOOT) * min(to_none, to_other).item()
            assert found.l2 == pytest.approx(expected, rel=1e-4) and found.iterations == 1
            assert found.margin == pytest.approx(margin.item(), rel=1e-4)
            assert found.rms == pytest.approx(found.l2 / math.sqrt(3 * SIDE * SIDE))
            assert found.relative == pytest.approx(found.l2 / image.norm().item())
            assert (found.image - image).norm().item() == pytest.approx(found.l2, rel=1e-4)
        assert result.smallest is min(result.objects, key=lambda one: one.l2)


def test_a_single_class_against_the_background():
    image, weights, _ = random_problem(3)
    logits = linear_detector(weights, torch.zeros(4, 2)).outputs(image[None])[0][0].double()
    bias = torch.zeros(4, 2)
    bias[:, 1] = 2 - (logits[:, 1] - logits[:, 0])  # log-odds of 2 for each object
    boxes, labels = objects(4)
    attacked = linear_detector(weights, bias, background_output=True)
    result = deepfool(attacked, image, (boxes, labels * 0), threshold=0.3)
    assert len(result.objects) == 4
    for anchor, found in enumerate(result.objects):
        expected = (2 - math.log(0.3 / 0.7)) / (weights[anchor, 1] - weights[anchor, 0]).norm().item()
        assert found.l2 == pytest.approx((1 + OVERSHOOT) * expected, rel=1e-4)


def test_softmax_log_odds_are_those_of_the_scores():
    attacked = linear_detector(torch.zeros(4, 4, 3, SIDE, SIDE), torch.zeros(4, 4), background_output=True)
    logits = 3 * torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    scores = logits.double().softmax(-1)[:, 1:]
    torch.testing.assert_close(attacked.log_odds(logits).double(), scores.logit(), rtol=1e-5, atol=1e-5)


def test_all_objects_are_lost_at_the_least_step():
    image, weights, _ = random_problem(5)
    weights = weights[:, :1]
    weights[1] = 0.8 * weights[0] + 0.6 * weights[1]  # objects 0 and 1 depend on similar pixels
    attacked = linear_detector(weights, torch.zeros(4, 1))
    bias = torch.tensor([[1.0], [2.0], [0.5], [1.5]]) - attacked.outputs(image[None])[0][0]
    boxes, labels = objects(4)
    result = deepfool(linear_detector(weights, bias), image, (boxes, labels * 0), threshold=0.5)
    assert result.everything.objects == (0, 1, 2, 3)
    expected = least_step(weights.flatten(1), torch.tensor([1.0, 2.0, 0.5, 1.5])).norm().item()
    assert result.everything.l2 == pytest.approx((1 + OVERSHOOT) * expected, rel=1e-4)
    assert result.everything.l2 < 0.95 * math.sqrt(sum(one.l2**2 for one in result.objects))


def test_objects_that_are_not_detected_are_left_out():
    image, weights, bias = random_problem(0, label_logits=(1.0, -3.0, 0.5, 1.5))
    result = deepfool(linear_detector(weights, bias), image, objects(4), threshold=0.5)
    assert [one.objects for one in result.objects] == [(0,), (2,), (3,)]
    none = deepfool(linear_detector(weights, bias), image, (torch.zeros(0, 4), torch.zeros(0).long()), threshold=0.5)
    assert none.objects == [] and none.everything is None and none.smallest is None


def test_grey_levels_stay_in_their_range():
    image, weights, bias = random_problem(1)
    attacked = linear_detector(weights, bias)
    extreme = torch.where(image > 128, 255.0, 0.0)  # half of all changes would leave the range
    bias = bias + (attacked.outputs(image[None])[0][0] - attacked.outputs(extreme[None])[0][0])
    attacked = linear_detector(weights, bias)
    result = deepfool(attacked, extreme, objects(4), threshold=0.5)
    assert len(result.objects) == 4
    for found in result.objects:
        assert found.image.min() >= 0 and found.image.max() <= 255
        label = found.objects[0] % 2
        own = weights[found.objects[0], label]
        free = own.masked_fill(((extreme == 0) & (own > 0)) | ((extreme == 255) & (own < 0)), 0)
        margin = found.margin / free.norm().item()
        assert found.l2 <= (1 + OVERSHOOT) * margin * 1.0001


def test_failures_are_counted_apart():
    image, weights, bias = random_problem(2)
    result = deepfool(linear_detector(weights * 0, torch.tensor([[3.0, -3.0]] * 4)), image, objects(1), threshold=0.5)
    (failed,) = result.objects
    assert failed.image is None and math.isnan(failed.l2) and result.smallest is None
    none = deepfool(linear_detector(weights, bias), image, objects(4), threshold=0.5, iterations=0)
    assert all(one.image is None and one.iterations == 0 for one in none.objects)


def test_the_least_step_meets_all_constraints_and_is_the_shortest():
    generator = torch.Generator().manual_seed(0)
    for n in (1, 2, 4, 7):
        gradients = torch.randn(n, 10, generator=generator, dtype=torch.float64) + 0.5
        margins = torch.rand(n, generator=generator, dtype=torch.float64) + 0.1
        step = least_step(gradients, margins)
        assert (gradients @ step <= -margins + 1e-6).all()
        slack = partial(lambda g, f, x: -f - g @ x, gradients.numpy(), margins.numpy())
        best = minimize(
            lambda x: x @ x,
            np.zeros(10),
            jac=lambda x: 2 * x,
            constraints={"type": "ineq", "fun": slack},
            options={"ftol": 1e-12, "maxiter": 1000},
        )
        assert step.norm().item() == pytest.approx(math.sqrt(best.fun), rel=1e-5)


def test_an_object_is_lost_when_its_best_detection_is_of_another_class():
    box = torch.tensor([0.0, 0.0, 10.0, 10.0])
    near, far = [1.0, 0.0, 10.0, 10.0], [6.0, 0.0, 16.0, 10.0]

    def lost(*detections):
        boxes, scores, labels = zip(*detections, strict=True) if detections else ([], [], [])
        boxes = torch.tensor(boxes).reshape(-1, 4)
        return is_lost(Detections(boxes, torch.tensor(scores), torch.tensor(labels).long()), box, 1, 0.5)

    assert (
        not lost((near, 0.6, 1))
        and not lost((far, 0.9, 0), (near, 0.5, 1))
        and not lost((near, 0.8, 1), (near, 0.7, 0))
    )
    assert lost() and lost((near, 0.4, 1)) and lost((far, 0.9, 1)) and lost((near, 0.8, 0), (near, 0.7, 1))


def test_images_are_resized_as_in_a_test_and_their_boxes_with_them(tmp_path):
    image, weights, bias = random_problem(0)
    attacked = linear_detector(weights, bias)
    large = image.repeat_interleave(2, 1).repeat_interleave(3, 2).to(torch.uint8)
    Image.fromarray(large.permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    boxes, labels = objects(4)
    scaled = (boxes * torch.tensor([3, 2, 3, 2])).tolist()
    record = make_record(
        "a", tmp_path / "a.png", (96, 64), scaled, labels.tolist(), difficult=[False, True, False, False]
    )
    resize = inference_resize(SIDE, None, 1000)
    (result,) = deepfool_images(attacked, [record], resize, threshold=0.2)
    input_image = resize(large).float()
    keep = torch.tensor([0, 2, 3])
    expected = deepfool(attacked, input_image, (boxes[keep], labels[keep]), threshold=0.2)
    assert result.size == (SIDE, SIDE) and len(result.objects) == len(expected.objects)
    assert [one.l2 for one in result.objects] == [one.l2 for one in expected.objects]


def perturbation(l2, *, found=True):
    image = torch.zeros(3, 2, 2) if found else None
    measures = (
        {"l2": l2, "rms": l2 / 10, "relative": l2 / 100}
        if found
        else dict.fromkeys(("l2", "rms", "relative"), math.nan)
    )
    return Perturbation((0,), 2.0, 1, image, **measures)


def test_means_are_over_images_and_failures_apart():
    of_images = [([1.0, 2.0], 2.5), ([5.0], 5.0), ([], None)]
    results = [
        DeepFoolResult((2, 2), [perturbation(l2) for l2 in objects], perturbation(everything) if objects else None)
        for objects, everything in of_images
    ]
    results.append(DeepFoolResult((2, 2), [perturbation(0, found=False)], perturbation(0, found=False)))
    means = summarise(results)
    assert (means["images"], means["images_changed"], means["objects"], means["failures"]) == (4, 2, 4, 1)
    assert means["l2"] == 3 and means["rms"] == pytest.approx(0.3) and means["relative"] == pytest.approx(0.03)
    assert means["l2_high"] - 3 == pytest.approx(1.96 * math.sqrt(8) / math.sqrt(2)) == 3 - means["l2_low"]
    assert means["l2_everything"] == 3.75 and means["l2_objects"] == pytest.approx(8 / 3) and means["margin"] == 2
    assert math.isnan(summarise([])["l2"])


def test_the_subset_of_images_is_decided_by_the_seed():
    records = [make_record(number, "a.png", (8, 8), [], []) for number in range(50)]
    chosen = [record.image_id for record in choose_images(records, 10, 0)]
    assert chosen == sorted(chosen) and len(set(chosen)) == 10 and chosen != list(range(10))
    assert chosen == [record.image_id for record in choose_images(records, 10, 0)]
    assert chosen != [record.image_id for record in choose_images(records, 10, 1)]
    assert choose_images(records, None, 0) == choose_images(records, 60, 0) == records
