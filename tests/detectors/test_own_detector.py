"""A detector of a user's own: a module and its anchors, registered as CONTRIBUTING.md says, trained and tested."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hydra.core.config_store import ConfigStore
from torch import Tensor, nn

from src.config.identity import run_id
from src.config.registry import DETECTORS, DetectorEntry
from src.config.schema import model_schema
from src.config.validate import resolve
from src.data.loading import InferenceBatch
from src.detectors.anchors import AnchorGrid
from src.detectors.detector import Detector, build_detector
from src.detectors.inference import image_outputs
from src.detectors.postprocess import ImageOutputs, detect
from src.utils.errors import UserError
from tests.support.configurations import compose_config, make_config
from tests.support.runs import NOT_LOGGED, run_here, summary_of, weights

SIDES = (12.0, 24.0)  # pixels, of the two square anchors in each cell of 8 × 8 pixels
CONF = {  # conf/model/blobs.yaml
    "defaults": ["/schema/model/blobs@_here_", "_self_"],
    "name": "blobs",
    "small": False,
    "width": 4,
    "score_threshold": 0.01,
    "nms_iou": 0.5,
    "max_detections": 100,
}


class Blobs(nn.Module):
    """A single convolution on cells of 8 × 8 pixels."""

    def __init__(self, outputs: int, width: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.cells = nn.Conv2d(3, width, kernel_size=8, stride=8)
        self.head = nn.Conv2d(width, len(SIDES) * (outputs + 4), kernel_size=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.head(self.cells(images).relu()).permute(0, 2, 3, 1)
        both = maps.reshape(len(images), -1, self.outputs + 4)
        return both[..., :-4], both[..., -4:]


def grids(height: int, width: int) -> list[AnchorGrid]:
    return [AnchorGrid(height // 8, width // 8, 8, torch.tensor([[side, side] for side in SIDES]))]


def build_blobs(options: Mapping[str, Any], image_size: int) -> Detector:
    return Detector(lambda outputs: Blobs(outputs, options["width"]), grids, detect)


@pytest.fixture
def blobs(monkeypatch):
    entry = DetectorEntry("Blobs", "tests.detectors.test_own_detector.build_blobs", {"width": int})
    monkeypatch.setitem(DETECTORS, "blobs", entry)
    make_config()  # registers what conf/ needs
    store = ConfigStore.instance()
    store.store(group="schema/model", name="blobs", node=model_schema("blobs"))
    store.store(group="model", name="blobs", node=CONF)
    yield
    for group in (store.repo["schema"]["model"], store.repo["model"]):
        del group["blobs.yaml"]


@pytest.mark.parametrize("loss", ["ap", "ohem"])
@pytest.mark.slow
def test_an_own_module_with_its_anchors_is_trained_and_tested(loss, blobs, tiny, tmp_path):
    words = [word for word in tiny if not word.startswith("model.")]
    config = compose_config(("recipe=folder", "model=blobs", "dataset.root=x", "model.width=6"))
    assert resolve(config).model.width == 6
    directory = run_here(*words, "model=blobs", f"loss={loss}", "dataset.test_shorter_side=100", *NOT_LOGGED)
    assert {name: tuple(value.shape) for name, value in weights(directory).items() if "cells" in name} == {
        "cells.weight": (4, 3, 8, 8),
        "cells.bias": (4,),
    }
    assert 0 <= summary_of(directory)["metrics"]["AP50"] <= 100


class Masked(Blobs):
    """With a buffer that is never finite, such as attention has, and a state that is no tensor."""

    def __init__(self, outputs: int, width: int) -> None:
        super().__init__(outputs, width)
        self.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))

    def get_extra_state(self) -> str:
        return "masked"

    def set_extra_state(self, state: str) -> None:
        assert state == "masked"


@pytest.mark.slow
def test_whatever_else_an_own_module_keeps_is_not_taken_for_weights_that_diverged(blobs, tiny, monkeypatch):
    monkeypatch.setitem(globals(), "Blobs", Masked)
    words = [word for word in tiny if not word.startswith("model.")]
    state = weights(run_here(*words, "model=blobs", "schedule.epochs=1", *NOT_LOGGED))
    assert state["mask"].isinf().any() and state["_extra_state"] == "masked"


class OneAnchorLess(Blobs):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits, offsets = super().forward(images)
        return logits[:, :-1], offsets[:, :-1]


@pytest.mark.slow
def test_outputs_that_do_not_fit_the_anchors_are_named(blobs, tiny, monkeypatch):
    monkeypatch.setitem(globals(), "Blobs", OneAnchorLess)
    words = [word for word in tiny if not word.startswith("model.")]
    with pytest.raises(UserError, match=r"returns logits \[\d+, 127, 10\] and .* have 128 anchors"):
        run_here(*words, "model=blobs", *NOT_LOGGED)
    # In a test on larger images, the other anchors would be matched with the wrong outputs.
    detector = build_detector(make_config("model=blobs").model, 64)
    batch = InferenceBatch(torch.zeros(1, 3, 96, 64), [0], [(96, 64)])
    with pytest.raises(UserError, match="have 192 anchors"):
        list(image_outputs(detector.build_network(3), detector, [batch], torch.device("cpu")))


def test_an_own_option_is_part_of_the_runs_identity(blobs):
    ids = {run_id(make_config("model=blobs", *words)) for words in ([], ["model.width=5"], ["model.nms_iou=0.4"])}
    assert len(ids | {run_id(make_config())}) == 4


def test_the_options_of_every_detector_are_an_own_ones_too(blobs):
    (anchors,) = build_detector(make_config("model=blobs").model, 64).anchors(64, 64)
    scores = torch.linspace(0.02, 0.5, len(anchors))[:, None]
    outputs = ImageOutputs(0, (64, 64), scores, torch.zeros_like(anchors), [anchors])

    def count(*words):
        return len(build_detector(make_config("model=blobs", *words).model, 64).detect(outputs).scores)

    assert count("model.max_detections=3") == 3 < count("model.nms_iou=0.1") < count() == 100


def test_an_unknown_detector_is_named():
    with pytest.raises(UserError, match="model.name=other: no such detector; there are retinanet, ssd"):
        resolve(make_config("model.name=other"))
