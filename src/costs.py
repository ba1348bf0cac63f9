"""What a loss costs: time forward and backward beside that of others, in one run on one machine.

    python -m src.costs                        5.24 million logits, 1600 positives: VOC, batch 8 at 512 × 512
    python -m src.costs --device cuda
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from src.losses import ap_loss, auc_loss
from src.losses.reference import ap_loss_reference
from src.train import Stopwatch

# Mean and standard deviation of the scores of negatives and positives. Training starts from a bias of −4.6; later the
# two part, and the negatives below s_min − δ cost next to nothing.
STAGES = {
    "as at initialisation": ((-4.6, 0.1), (-4.6, 0.1)),
    "half-way": ((-5.0, 1.0), (-2.5, 1.2)),
    "late in training": ((-7.0, 1.0), (-1.5, 1.2)),
}


def make_problem(logits: int, positives: int, stage: str, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Random scores, float32 [logits], as in a stage of training, and their targets, int8 of the same shape."""
    generator = torch.Generator().manual_seed(0)
    negative, positive = STAGES[stage]
    scores = torch.randn(logits, generator=generator) * negative[1] + negative[0]
    index = torch.randint(logits, (2 * positives,), generator=generator).unique()
    index = index[torch.randperm(len(index), generator=generator)[:positives]]
    scores[index] = torch.randn(len(index), generator=generator) * positive[1] + positive[0]
    targets = torch.zeros(logits, dtype=torch.int8)
    targets[index] = 1
    return scores.to(device), targets.to(device)


def seconds(function: Callable[[], None], device: torch.device, repeats: int) -> float:
    """The median time of a call, after a first one that is not counted if there are several."""
    if repeats > 1:
        function()
    times = []
    for _ in range(repeats):
        with Stopwatch(device) as watch:
            function()
        times.append(watch.seconds)
    return statistics.median(times)


def measure(
    logits: int, positives: int, stage: str, device: torch.device, repeats: int, loop: bool
) -> dict[str, float]:
    """Seconds forward and backward of each loss on one problem; the loop of Algorithm 1 is run once."""
    scores, targets = make_problem(logits, positives, stage, device)
    scores.requires_grad_()
    positive = targets.float()

    def call(loss: Callable[[], Tensor]) -> Callable[[], None]:
        def forward_and_backward():
            scores.grad = None
            loss().backward()

        return forward_and_backward

    functions = {
        "sigmoid_focal_loss": call(lambda: sigmoid_focal_loss(scores, positive, reduction="sum")),
        "ap_loss": call(lambda: ap_loss(scores, targets)),
        "auc_loss": call(lambda: auc_loss(scores, targets)),
    }
    found = {name: seconds(function, device, repeats) for name, function in functions.items()}
    if loop:
        found["Algorithm 1's loop"] = seconds(lambda: ap_loss_reference(scores, targets), device, 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m src.costs", description=__doc__.splitlines()[0])
    parser.add_argument("--logits", type=int, default=5_240_000, help="number of scores (default: %(default)s)")
    parser.add_argument("--positives", type=int, default=1600, help="how many are positive (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=11, help="calls whose median counts (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, … (default: %(default)s)")
    parser.add_argument("--no-loop", action="store_true", help="leave out the loop of Algorithm 1, which takes minutes")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    size = f"{arguments.logits:,} logits, {arguments.positives:,} positives"
    print(f"{size}, float32, δ = 1, {name}, {time.strftime('%F')}")
    print("Milliseconds forward and backward (times sigmoid_focal_loss)\n")
    header = None
    for stage in STAGES:
        found = measure(
            arguments.logits, arguments.positives, stage, device, arguments.repeats, loop=not arguments.no_loop
        )
        if header is None:
            header = ["scores", *found]
            print("| " + " | ".join(header) + " |\n" + "|" + " --- |" * len(header))
        focal = found["sigmoid_focal_loss"]
        cells = [f"{1e3 * value:,.1f} ({value / focal:.2f}×)" for value in found.values()]
        print("| " + " | ".join([stage, *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
