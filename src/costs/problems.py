"""Random scores and targets like those of a detector's batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

# Mean and standard deviation of the scores of negatives and of positives. Training starts from a bias of −4.6. Later
# the two separate, and negatives below s_min − δ cost almost nothing.
STAGES = {
    "as at initialisation": ((-4.6, 0.1), (-4.6, 0.1)),
    "half-way": ((-5.0, 1.0), (-2.5, 1.2)),
    "late in training": ((-7.0, 1.0), (-1.5, 1.2)),
}
SCALING_STAGE = "as at initialisation"  # in which no negative is trivial
IMAGES, CLASSES = 8, 20
BATCH_MULTIPLE = IMAGES * CLASSES  # the number of logits of a batch is a multiple of it


@dataclass(frozen=True)
class ProblemSize:
    """What a problem is made from.

    Attributes:
        logits: number of scores, a multiple of BATCH_MULTIPLE.
        positives: how many of them are positive, at most one for each anchor.
        stage: of training, one of STAGES.
    """

    logits: int
    positives: int
    stage: str


def stage_columns(logits: int, positives: int) -> dict[str, ProblemSize]:
    """Return a problem of one size for each stage of training, by the stage's name."""
    return {stage: ProblemSize(logits, positives, stage) for stage in STAGES}


def scaling_columns(logits: int, positives: int) -> list[dict[str, ProblemSize]]:
    """Return problems of ¼, ½ and all of the logits, and problems of ¼, ½, once and twice the positives."""
    over_logits = [(logits // n // BATCH_MULTIPLE * BATCH_MULTIPLE, positives) for n in (4, 2, 1)]
    over_positives = [(logits, 2 * positives // n) for n in (8, 4, 2, 1)]
    return [
        {f"{size:,} / {number:,}": ProblemSize(size, number, SCALING_STAGE) for size, number in sizes}
        for sizes in (over_logits, over_positives)
    ]


def size_columns(sizes: list[int]) -> dict[str, ProblemSize]:
    """Return a problem of each size, with positives in the proportion of a batch of 8 on PASCAL VOC."""
    rounded = [size // BATCH_MULTIPLE * BATCH_MULTIPLE for size in sizes]
    return {f"{size:,}": ProblemSize(size, max(round(size / 3275), 4), SCALING_STAGE) for size in rounded}


@dataclass
class Problem:
    """Scores and targets of a batch, in every form that a measured function takes."""

    logits: Tensor  # float32 [8, A, 20]
    targets: Tensor  # int8 [8, A, 20]
    positive: Tensor  # float32 [8, A, 20]: the targets as sigmoid_focal_loss takes them
    with_background: Tensor  # float32 [8, A, 21]: the logits after a background score, as ohem_loss takes them
    source: Tensor  # float32: half as many bytes as logits, targets and update have together
    destination: Tensor

    def clear_gradients(self) -> None:
        """Drop the gradients of the last call."""
        self.logits.grad = self.with_background.grad = None


def make_problem(size: ProblemSize, device: torch.device | str = "cpu") -> Problem:
    """Draw random scores as in a stage of training, with no two positives at one anchor."""
    generator = torch.Generator().manual_seed(0)
    (negative_mean, negative_std), (positive_mean, positive_std) = STAGES[size.stage]
    scores = torch.randn(size.logits, generator=generator) * negative_std + negative_mean
    index = torch.randperm(size.logits // CLASSES, generator=generator)[: size.positives] * CLASSES
    index += torch.randint(CLASSES, (size.positives,), generator=generator)
    scores[index] = torch.randn(size.positives, generator=generator) * positive_std + positive_mean
    targets = torch.zeros(size.logits, dtype=torch.int8)
    targets[index] = 1
    scores = scores.view(IMAGES, -1, CLASSES).to(device)
    targets = targets.view(IMAGES, -1, CLASSES).to(device)
    # With a background score of 0, a class's softmax is close to its sigmoid, if the other classes score low.
    with_background = torch.cat([torch.zeros_like(scores[..., :1]), scores], 2)
    source = torch.ones(size.logits * 9 // 8, device=device)  # 4 + 1 + 4 bytes a logit, half of them to read
    return Problem(
        logits=scores.requires_grad_(),
        targets=targets,
        positive=targets.float(),
        with_background=with_background.requires_grad_(),
        source=source,
        destination=source.clone(),
    )
