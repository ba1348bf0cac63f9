"""What a loss costs: time forward and backward and peak memory beside those of others, in one run on one machine.

    python -m src.costs                        5.24 million logits, 1600 positives: VOC, batch 8 at 512 × 512
    python -m src.costs --device cuda
    python -m src.costs --loop                 with the loop of Algorithm 1, which takes minutes

ohem_loss has an output more for each anchor, 21 for 20 classes; the bucketed approximation sorts all scores.
"""

import argparse
import contextlib
import ctypes
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss
from tqdm import tqdm

from src.losses import ap_approximate_gradient_loss, ap_loss, ap_structured_hinge_loss, auc_loss, ohem_loss
from src.losses.bucketed import ap_loss_bucketed
from src.losses.reference import ap_loss_reference
from src.utils.memory import peak, reset_peak
from src.utils.timing import Stopwatch

# Mean and standard deviation of the scores of negatives and positives. Training starts from a bias of −4.6; later the
# two part, and the negatives below s_min − δ cost next to nothing.
STAGES = {
    "as at initialisation": ((-4.6, 0.1), (-4.6, 0.1)),
    "half-way": ((-5.0, 1.0), (-2.5, 1.2)),
    "late in training": ((-7.0, 1.0), (-1.5, 1.2)),
}
IMAGES, CLASSES = 8, 20


@dataclass
class Problem:
    """Scores and targets of a batch, and what else some functions take, made before anything is measured."""

    logits: Tensor  # float32 [8, A, 20]
    targets: Tensor  # int8 [8, A, 20]
    positive: Tensor  # float32 [8, A, 20]: the targets as sigmoid_focal_loss takes them
    with_background: Tensor  # float32 [8, A, 21]: the logits after a background score, as ohem_loss takes them
    source: Tensor  # float32: half as many bytes as logits, targets and update have together
    destination: Tensor

    def forget_updates(self) -> None:
        self.logits.grad = self.with_background.grad = None


def make_problem(logits: int, positives: int, stage: str, device: torch.device | str = "cpu") -> Problem:
    """Random scores, a multiple of 8 · 20, as in a stage of training, with every positive at an anchor of its own."""
    generator = torch.Generator().manual_seed(0)
    negative, positive = STAGES[stage]
    scores = torch.randn(logits, generator=generator) * negative[1] + negative[0]
    index = torch.randperm(logits // CLASSES, generator=generator)[:positives] * CLASSES
    index += torch.randint(CLASSES, (positives,), generator=generator)
    scores[index] = torch.randn(positives, generator=generator) * positive[1] + positive[0]
    targets = torch.zeros(logits, dtype=torch.int8)
    targets[index] = 1
    scores = scores.view(IMAGES, -1, CLASSES).to(device)
    targets = targets.view(IMAGES, -1, CLASSES).to(device)
    # Beside a background score of 0 a class's softmax is close to its sigmoid, as long as the other classes are low.
    with_background = torch.cat([torch.zeros_like(scores[..., :1]), scores], 2)
    scores, with_background = scores.requires_grad_(), with_background.requires_grad_()
    source = torch.ones(logits * 9 // 8, device=device)  # 4 + 1 + 4 bytes a logit, half of them to read
    return Problem(scores, targets, targets.float(), with_background, source, source.clone())


def _backward(loss: Callable[[Problem], Tensor]) -> Callable[[Problem], None]:
    return lambda problem: loss(problem).backward()


FOCAL, BUCKETED = "sigmoid_focal_loss", "ap_loss_bucketed"
FLOOR, LOOP = "memory-bandwidth floor", "loop of Algorithm 1"
FUNCTIONS: dict[str, Callable[[Problem], None]] = {
    FOCAL: _backward(lambda p: sigmoid_focal_loss(p.logits, p.positive, reduction="sum")),
    "ap_loss": _backward(lambda p: ap_loss(p.logits, p.targets)),
    "auc_loss": _backward(lambda p: auc_loss(p.logits, p.targets)),
    "ap_loss step=heaviside": _backward(lambda p: ap_loss(p.logits, p.targets, step="heaviside")),
    "ap_loss step=sigmoid": _backward(lambda p: ap_loss(p.logits, p.targets, step="sigmoid")),
    "ap_approximate_gradient_loss": _backward(lambda p: ap_approximate_gradient_loss(p.logits, p.targets)),
    "ap_structured_hinge_loss": _backward(lambda p: ap_structured_hinge_loss(p.logits, p.targets)),
    "ohem_loss": _backward(lambda p: ohem_loss(p.with_background, p.targets)),
    BUCKETED: _backward(lambda p: ap_loss_bucketed(p.logits, p.targets)),
    FLOOR: lambda p: p.destination.copy_(p.source),
    LOOP: _backward(lambda p: ap_loss_reference(p.logits, p.targets)),
}


def seconds(
    names: list[str], problems: dict[str, Problem], device: torch.device, repeats: int
) -> dict[tuple[str, str], float]:
    """The median time of each function on each problem, by their names; the loop is run once.

    Every repeat goes through all functions and problems in turn, so that a machine that slows down does so for all.
    """
    in_turn = [(name, column) for column in problems for name in names if name != LOOP]
    calls = in_turn * (repeats + (repeats > 1))  # a first round is not counted if there are several
    calls += [(LOOP, column) for column in problems if LOOP in names]
    times: dict[tuple[str, str], list[float]] = {}
    for name, column in tqdm(calls, desc="time", unit="call", disable=None, leave=False):
        problems[column].forget_updates()
        with Stopwatch(device) as watch:
            FUNCTIONS[name](problems[column])
        times.setdefault((name, column), []).append(watch.seconds)
    return {call: statistics.median(found[1:] if len(found) > 1 else found) for call, found in times.items()}


def bucketed_error(logits: Tensor, targets: Tensor, delta: float = 1.0) -> float:
    """The norm of what the bucketed approximation's update lacks of the exact one, over the norm of the exact one."""

    def update(loss: Callable[..., Tensor], **arguments) -> Tensor:
        scores = logits.detach().clone().requires_grad_()
        loss(scores, targets, delta=delta, **arguments).backward()
        return scores.grad.double()

    exact = update(ap_loss, interpolated=False)
    return ((update(ap_loss_bucketed) - exact).norm() / exact.norm()).item()


def peak_memory(function: Callable[[], None], device: torch.device) -> int | None:
    """Bytes a call takes at its peak beyond what was taken before; None where that cannot be told.

    On a GPU these are the bytes allocated, on Linux's CPUs those resident; the latter only in a process whose
    allocator returns at once what is freed, see `in_a_process_apart`.
    """
    before = reset_peak(device)
    if before is None:
        return None
    function()
    return peak(device) - before


def in_a_process_apart() -> ProcessPoolExecutor:
    """A fresh process in which `peak_memory` is repeatable."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _return_freed_memory_at_once)


def _return_freed_memory_at_once() -> None:
    # glibc keeps freed blocks below a threshold, which grows to 32 MiB as they are freed; what is resident would then
    # depend on all that went before. With a fixed threshold every tensor above it is mapped and unmapped by itself.
    mmap_threshold = -3
    with contextlib.suppress(AttributeError, TypeError):  # as above
        ctypes.CDLL(None).mallopt(mmap_threshold, 2**16)


def memory_of(names: list[str], logits: int, positives: int, stage: str, device: torch.device) -> dict[str, int | None]:
    """Peak memory of each function on one problem, in bytes."""
    problem = make_problem(logits, positives, stage, device)
    found = {}
    for name in names:
        FUNCTIONS[name](problem)  # a first call also starts threads and loads kernels
        problem.forget_updates()
        found[name] = peak_memory(lambda name=name: FUNCTIONS[name](problem), device)
    return found


def measure(
    names: list[str], columns: dict[str, tuple[int, int, str]], device: torch.device, repeats: int
) -> tuple[dict[str, Problem], dict[tuple[str, str], float], dict[tuple[str, str], float | None]]:
    """Milliseconds and MiB of each function in each column, which is so many logits and positives in a stage."""
    problems = {column: make_problem(*size, device) for column, size in columns.items()}
    times = {call: 1e3 * found for call, found in seconds(names, problems, device, repeats).items()}
    memory = {}
    with in_a_process_apart() as process:
        for column, size in tqdm(columns.items(), desc="memory", unit="column", disable=None, leave=False):
            for name, peak in process.submit(memory_of, _with_memory(names), *size, device).result().items():
                memory[name, column] = None if peak is None else peak / 2**20
    return problems, times, memory


def print_stages(names: list[str], logits: int, positives: int, device: torch.device, repeats: int) -> None:
    """Tables of every function's time and peak memory in each stage, in itself and times focal loss's."""
    columns = {stage: (logits, positives, stage) for stage in STAGES}
    problems, times, memory = measure(names, columns, device, repeats)
    rows = [[name, *(_cell(times[name, s], times[FOCAL, s]) for s in STAGES)] for name in names]
    if BUCKETED in names:
        (row,) = (row for row in rows if row[0] == BUCKETED)
        errors = [bucketed_error(problem.logits, problem.targets) for problem in problems.values()]
        row[1:] = [f"{cell}, error {100 * error:.2g}%" for cell, error in zip(row[1:], errors, strict=True)]
    print(f"\nMilliseconds forward and backward (times {FOCAL})\n")
    _print_table(["function", *STAGES], rows)
    print(f"\nPeak extra memory, MiB (times {FOCAL}){_unknown(memory)}\n")
    rows = [[name, *(_cell(memory[name, s], memory[FOCAL, s]) for s in STAGES)] for name in _with_memory(names)]
    _print_table(["function", *STAGES], rows)


def print_scaling(names: list[str], sizes: Iterable[tuple[int, int]], device: torch.device, repeats: int) -> None:
    """Tables of every function's time and peak memory over numbers of logits and positives, and their growth."""
    stage = next(iter(STAGES))
    columns = {f"{size:,} / {number:,}": (size, number, stage) for size, number in sizes}
    _, times, memory = measure(names, columns, device, repeats)
    for what, found in (("Milliseconds", times), (f"Peak extra memory, MiB{_unknown(memory)},", memory)):
        print(f"\n{what} over logits / positives, scores {stage} (times the column before)\n")
        rows = []
        for name in names if found is times else _with_memory(names):
            values = [found[name, column] for column in columns]
            rows.append([name, *(_cell(now, before) for before, now in zip([None, *values], values, strict=False))])
        _print_table(["function", *columns], rows)


def _with_memory(names: list[str]) -> list[str]:
    """Without the floor, which takes none, and the loop, which takes minutes."""
    return [name for name in names if name not in (FLOOR, LOOP)]


def _unknown(memory: dict[tuple[str, str], float | None]) -> str:
    return " (cannot be told here)" if memory[FOCAL, next(column for _, column in memory)] is None else ""


def _cell(value: float | None, unit: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.1f}" if unit is None else f"{value:,.1f} ({value / unit if unit else torch.nan:.2f}×)"


def _print_table(header: list[str], rows: list[list[str]]) -> None:
    for row in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(row) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m src.costs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--logits", type=int, default=5_240_000, help="number of scores (default: %(default)s)")
    parser.add_argument("--positives", type=int, default=1600, help="how many are positive (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=11, help="calls whose median counts (default: %(default)s)")
    parser.add_argument("--device", type=torch.device, default="cpu", help="cpu, cuda, … (default: %(default)s)")
    parser.add_argument("--loop", action="store_true", help="also the loop of Algorithm 1, in the first table only")
    parser.add_argument("--only", metavar="NAME[,NAME]", help="measure only these rows and focal loss")
    arguments = parser.parse_args()
    logits, positives, device = arguments.logits // 160 * 160, arguments.positives, arguments.device
    most = logits // 4 // 160 * 160 // CLASSES  # one for each anchor of the smallest problem
    if not 4 <= positives <= most:
        parser.error(f"{logits:,} logits can have 4 to {most:,} positives, one for each anchor of a quarter of them")
    if arguments.repeats < 1:
        parser.error("--repeats must be at least 1")
    chosen = [name for name in FUNCTIONS if name != LOOP]
    if arguments.only:
        only = arguments.only.split(",")
        if unknown := set(only) - set(chosen):
            parser.error(f"no such function: {', '.join(sorted(unknown))}; there are {', '.join(chosen)}")
        chosen = [name for name in chosen if name in {FOCAL, *only}]

    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # which is what a Stopwatch waits for
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    print(f"{logits:,} logits, {positives:,} positives, float32, δ = 1, median of {arguments.repeats}")
    print(f"{machine}, {versions}, {time.strftime('%F')}")
    print_stages(chosen + [LOOP] * arguments.loop, logits, positives, device, arguments.repeats)
    print_scaling(chosen, [(logits // n // 160 * 160, positives) for n in (4, 2, 1)], device, arguments.repeats)
    print_scaling(chosen, [(logits, 2 * positives // n) for n in (8, 4, 2, 1)], device, arguments.repeats)


if __name__ == "__main__":
    main()
