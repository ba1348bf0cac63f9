"""Detections on the images of a run, seen at one scale or several."""

import pytest
import torch

from src.config.validate import resolve
from src.detectors.detector import build_detector
from src.evaluation.anchor_scores import BINS, add_anchor_scores
from src.runs.attempt import RunGuard
from src.training import tester
from src.training.data import build_data
from src.utils.distributed import World
from src.utils.signals import Interruption
from tests.support.configurations import make_config


def make_tester(*words):
    """A tester of a detector with random weights."""
    config = resolve(make_config(*words))
    detector = build_detector(config.model, config.dataset.train_size)
    data = build_data(config, detector.normalisation, World())
    torch.manual_seed(0)
    network = detector.build_network(len(data.classes))
    guard = RunGuard(None, Interruption())
    return tester.Tester(detector, network, data, config=config, world=World(), guard=guard)


@pytest.mark.parametrize("model", ["retinanet", "ssd"])
@pytest.mark.slow
def test_one_scale_is_the_usual_test_bit_for_bit_and_several_are_merged(model, tiny):
    def detections(*words):
        words = [*tiny, f"model={model}", "model.score_threshold=0", "model.max_detections=50", *words]
        tested = make_tester(*words)
        return tested.detections(tested.data.test)

    usual, one = detections(), detections("test.scales=[64]")
    several = detections("test.scales=[64,96]", "test.mirror=true")
    for name in ("boxes", "scores", "labels"):
        assert all(torch.equal(getattr(a, name), getattr(b, name)) for a, b in zip(usual, one, strict=True))
        assert [len(getattr(image, name)) for image in several] == [50] * 4
    assert all((a.scores != b.scores).any() and b.scores[0] >= a.scores[0] for a, b in zip(usual, several, strict=True))


def test_what_is_logged_of_a_test_is_that_of_its_only_pass_through_the_network(tiny):
    tested, seen = make_tester(*tiny, "model.score_threshold=0", "images_logged=1"), []
    tested.network.register_forward_hook(lambda network, inputs, outputs: seen.append(len(inputs[0])))
    tested.evaluate()
    test, last = tested.data.test, tested.last_test
    assert sum(seen) == len(test) == len(last.detections) == 4
    for index, kept in last.detections.items():
        (alone,) = tested.detections([test[index]])
        torch.testing.assert_close(kept.scores, alone.scores, rtol=1e-4, atol=1e-6)  # another batch rounds otherwise
        torch.testing.assert_close(kept.boxes, alone.boxes, rtol=1e-4, atol=1e-3)
    again = torch.zeros(BINS, BINS, dtype=torch.int64)
    for _ in add_anchor_scores(tested.outputs(test, tested.data.views[0], shared=True), test, again):
        pass
    assert torch.equal(last.anchor_scores, again) and again.sum() > 0
