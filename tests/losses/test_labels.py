"""The targets that the losses' README makes from the labels of other code."""

import re

import pytest
import torch

from src.utils import paths

README = paths.ROOT / "src" / "losses" / "README.md"
K = 3
# Two images with three anchors: an object of class 2, background, one to ignore; background, class 0, background.
TARGETS = torch.tensor([[[0, 0, 1], [0, 0, 0], [-1, -1, -1]], [[0, 0, 0], [1, 0, 0], [0, 0, 0]]])
IGNORING_NOTHING = TARGETS.clamp(min=0)
LABELS = {
    "detectron2": ({"labels": torch.tensor([[2, K, -1], [K, 0, K]])}, TARGETS),
    "mmdetection": (
        {"labels": torch.tensor([[2, K, K], [K, 0, K]]), "label_weights": torch.tensor([[1, 1, 0], [1, 1, 1.0]])},
        TARGETS,
    ),
    "torchvision's FCOS": ({"labels": torch.tensor([[2, -1, -1], [-1, 0, -1]])}, IGNORING_NOTHING),
    "SSD": ({"labels": torch.tensor([[3, 0, 0], [0, 1, 0]]), "logits": torch.zeros(2, 3, K + 1)}, IGNORING_NOTHING),
    "torchvision's RPN": (
        {"labels": [torch.tensor([1.0, 0, -1]), torch.tensor([0.0, 1, 0])], "logits": torch.zeros(6, 1)},
        torch.tensor([1, 0, -1, 0, 1, 0])[:, None],
    ),
    "Ultralytics, RankSort": ({"target_scores": 0.7 * IGNORING_NOTHING}, IGNORING_NOTHING),
}


def rows() -> dict[str, str]:
    """Return the table's expression for each code."""
    return dict(re.findall(r"^\| ([^|]+) \| [^|]+ \| `([^`|]+)` \|$", README.read_text(), re.MULTILINE))


def test_every_row_is_tried():
    assert rows().keys() == LABELS.keys()


@pytest.mark.parametrize("code", LABELS)
def test_the_targets_are_those_that_the_labels_mean(code):
    (example,) = re.findall(r"```python\n([^`]*def targets_of.*?)```", README.read_text(), re.DOTALL)
    names, expected = LABELS[code]
    names = {"torch": torch, "K": K, "logits": torch.zeros(2, 3, K, dtype=torch.float16), **names}
    exec(compile(example, str(README), "exec"), names)
    assert eval(rows()[code], names).int().equal(expected.int())
