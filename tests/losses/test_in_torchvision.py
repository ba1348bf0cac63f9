"""The example in the losses' README: AP-loss in torchvision's own RetinaNet."""

import re

import pytest
import torch
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from src.losses import ap_loss
from src.utils import paths

README = paths.ROOT / "src" / "losses" / "README.md"


def readme_example() -> str:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (example,) = [block for block in blocks if "compute_loss" in block]
    return example


@pytest.mark.slow
def test_readme_example_trains_torchvisions_retinanet():
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(
        backbone_name="resnet18",
        weights=None,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
        norm_layer=torch.nn.BatchNorm2d,
        trainable_layers=5,
    )
    model = RetinaNet(backbone, num_classes=3, min_size=32, max_size=32)
    images = [torch.rand(3, 96, 96) for _ in range(2)]
    targets = [
        {"boxes": torch.tensor([[8.0, 8, 60, 60]]), "labels": torch.tensor([1])},
        {"boxes": torch.tensor([[20.0, 30, 90, 80], [0, 0, 30, 40]]), "labels": torch.tensor([2, 0])},
    ]
    example = compile(readme_example(), str(README), "exec")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    names = {"model": model, "images": images, "targets": targets}
    history = []
    for _ in range(11):  # the user's loop
        optimizer.zero_grad()
        exec(example, names)
        history.append(names["losses"]["classification"].item())
        optimizer.step()
    assert 0 < history[-1] < 0.8 * history[0] < history[0] <= 1

    with torch.no_grad():  # the same as ranking by hand
        head = model.head.classification_head
        outputs = {"cls_logits": torch.randn(2, 5, 3)}
        matched = [torch.tensor([0, -1, -2, -1, 0]), torch.tensor([-1, 1, 0, -2, -1])]
        expected = torch.zeros(2, 5, 3)
        expected[0, [0, 4], 1] = 1
        expected[1, 1, 0] = expected[1, 2, 2] = 1
        expected[0, 2] = expected[1, 3] = -1
        assert head.compute_loss(targets, outputs, matched) == ap_loss(outputs["cls_logits"], expected)
