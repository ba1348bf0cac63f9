import pytest
import torch
from torchvision.models import resnet18
from torchvision.ops import FrozenBatchNorm2d

from src.detectors.anchors import make_anchors
from src.detectors.postprocess import detect
from src.detectors.retinanet import RetinaNet


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(resnet18(weights=None).state_dict(), path)
    return path


def test_outputs_match_the_anchors_and_start_from_the_prior():
    torch.manual_seed(0)
    model = RetinaNet(3, "resnet18", None, 32).eval()
    with torch.no_grad():
        logits, offsets = model(torch.randn(2, 3, 96, 160))
    count = sum(len(level) for level in make_anchors(96, 160))
    assert logits.shape == (2, count, 3) and offsets.shape == (2, count, 4)
    assert logits.sigmoid().mean().item() == pytest.approx(0.01, rel=0.05)
    assert offsets.abs().max() < 0.5


def test_output_order_is_that_of_the_anchors():
    """A change of one pixel region moves the scores of anchors near it most."""
    torch.manual_seed(0)
    model = RetinaNet(1, "resnet18", None, 32).eval()
    image = torch.zeros(1, 3, 256, 256)
    changed = image.clone()
    changed[:, :, 24:40, 200:216] = 3
    with torch.no_grad():
        difference = (model(changed)[0] - model(image)[0]).abs()[0, :, 0]
    finest = make_anchors(256, 256)[0]
    centre = (finest[:, :2] + finest[:, 2:])[difference[: len(finest)].argmax()] / 2
    assert abs(centre[0] - 208) < 40 and abs(centre[1] - 32) < 40


def test_random_weights_train_everything():
    model = RetinaNet(2, "resnet18", None, 32)
    assert all(p.requires_grad for p in model.parameters())
    assert not any(isinstance(m, FrozenBatchNorm2d) for m in model.modules())


def test_pretrained_weights_are_loaded_and_frozen_where_the_paper_freezes_them(weights):
    model = RetinaNet(2, "resnet18", str(weights), 32)
    state = torch.load(weights, weights_only=True)
    torch.testing.assert_close(model.body.layer3[0].conv1.weight, state["layer3.0.conv1.weight"])
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {n for n, _ in model.named_parameters() if n.startswith(("body.conv1", "body.layer1"))}
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())


def test_errors_of_weights_name_the_key(weights, tmp_path):
    with pytest.raises(ValueError, match="model.weights=nowhere.pth: no such file"):
        RetinaNet(2, "resnet18", "nowhere.pth")
    with pytest.raises(ValueError, match="not a state dict of torchvision's resnet50"):
        RetinaNet(2, "resnet50", str(weights))
    (tmp_path / "broken.pth").write_bytes(b"broken")
    with pytest.raises(ValueError, match="broken.pth is not a state dict"):
        RetinaNet(2, "resnet18", str(tmp_path / "broken.pth"))


def _outputs(anchors, scores, classes=2):
    given = torch.full((sum(len(level) for level in anchors), classes), 1e-9)
    for (anchor, label), score in scores.items():
        given[anchor, label] = score
    return given, torch.zeros(len(given), 4)


def test_detections_threshold_nms_and_clipping():
    anchors = [torch.tensor([[0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 50, 50.0]]), torch.tensor([[60, 60, 90, 90.0]])]
    scores, offsets = _outputs(anchors, {(0, 0): 0.9, (1, 0): 0.8, (1, 1): 0.7, (2, 0): 0.005, (3, 1): 0.005})
    found = detect(scores, offsets, anchors, (80, 80))
    # The second box of class 0 is suppressed, that of class 1 is not; below the threshold only the last level speaks.
    assert found.scores[:3].tolist() == pytest.approx([0.9, 0.7, 0.005])
    assert found.labels[:3].tolist() == [0, 1, 1]
    assert found.boxes[2].tolist() == [60, 60, 80, 80]
    assert len(detect(scores, offsets, anchors, (80, 80), detections=1).scores) == 1
    assert len(detect(scores, offsets, anchors, (80, 80), score_threshold=0.001).scores) >= 4


def test_candidates_are_limited_on_each_level():
    anchors = [torch.tensor([[20.0 * i, 0, 20.0 * i + 10, 10] for i in range(50)])] * 2
    scores = torch.full((100, 1), 0.5)
    assert len(detect(scores, torch.zeros(100, 4), anchors, (2000, 2000), candidates=7, nms_iou=1.0).scores) == 14
