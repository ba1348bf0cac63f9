"""The Triton kernels of AP-loss and AUC-loss: whether they are right, wait for nothing, repeat, and how long they take.

What matters most comes first, and each check prints its result at once: a time limit then leaves figures, and one check
that fails does not hide the others.
"""

import functools
import itertools
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

import torch
from torch import Tensor

from benchmarks.gpu.correctness import (
    DTYPES,
    FLOAT32_ROUNDING,
    LARGEST_UPDATE,
    ROUNDINGS,
    SMALLEST,
    loss_and_update,
    power_of_two_below,
    relative_error,
)
from benchmarks.gpu.kernel_times import Report, capture, measure_times, profile_kernels, stage_problem, try_shapes
from benchmarks.gpu.part import PartOptions, PartResult, run_part
from src.costs.problems import STAGES, ProblemSize, make_problem
from src.costs.table import Table
from src.losses import ap_loss, auc_loss, launch
from src.losses.gpu import kernels
from tests.losses.problems import random_problem

Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES: dict[str, Callable[..., Tensor]] = {
    "ap": functools.partial(ap_loss, interpolated=True),
    "ap exact": functools.partial(ap_loss, interpolated=False),
    "auc": auc_loss,
}
STEPS = ("piecewise", "heaviside")


def measure(options: PartOptions) -> PartResult:
    """Run all checks and measurements, in the order of their value."""
    report = Report(torch.device(options.device), options.quick)
    if options.device == "cpu":
        launch.SHAPES |= {
            "rank": (128, 4),
            "lay_grid": (1024, 4),
            "solve": (128, 4),
            "count": (1024, 4),
        }  # fewer steps to interpret
    with kernels(True):
        if options.device == "cuda":
            compile_in_parallel(report)
        check_variants(report)
        if not report.quick:
            check_random_problems(report)
        check_hard_problems(report)
        check_bits(report)
        if options.device == "cuda":
            check_no_wait(report)
            check_graph(report)
        check_compiled(report)
        if options.device == "cuda":
            measure_times(report)
            profile_kernels(report)
            try_shapes(report)
    report.values["checks"] = {name: passed == "yes" for name, passed, *_ in report.checks}
    report.tables.insert(0, Table("Kernels", ["check", "passed", "remarks", "seconds"], report.checks))
    return PartResult(report.tables, report.values, report.failures)


def variants() -> list[tuple[str, str, str]]:
    """Return all combinations of loss, step function and dtype."""
    return list(itertools.product(LOSSES, STEPS, DTYPES))


def compile_in_parallel(report: Report) -> None:
    """Compile all variants in several processes, which leave them in Triton's cache on disk."""
    with report.check("compile all variants in 9 processes"):
        jobs = itertools.product(STEPS, DTYPES, (400, 401))
        with ProcessPoolExecutor(9, multiprocessing.get_context("spawn")) as pool:
            for job in [pool.submit(run_small, *job) for job in jobs]:
                job.result()


def run_small(step: str, dtype: str, size: int) -> None:
    """Compute each loss once on the GPU; a size that 16 divides and one that it does not are compiled differently."""
    logits, targets = torch.randn(size, device="cuda").to(DTYPES[dtype]), torch.arange(size, device="cuda") % 4 - 1
    for loss, kind in itertools.product(LOSSES.values(), (torch.int8, torch.int64)):
        with kernels(True):
            loss_and_update(functools.partial(loss, step=step), logits, targets.clamp(max=1).to(kind))


def compare(report: Report, loss: Loss, logits: Tensor, targets: Tensor) -> tuple[float, float]:
    """Return the errors of loss and update as multiples of what is allowed."""
    with kernels(False):
        expected_loss, expected = loss_and_update(loss, logits.double(), targets)
    scale = power_of_two_below(LARGEST_UPDATE / max(expected.abs().max().item(), SMALLEST))
    value, update = loss_and_update(loss, logits.to(report.device), targets.to(report.device), scale)
    allowed = ROUNDINGS * FLOAT32_ROUNDING
    loss_error = relative_error(value.cpu().double(), expected_loss) / allowed
    update_error = relative_error(update.cpu().double() / scale, expected)
    # Triton's interpreter cuts digits off where a GPU rounds.
    rounding = torch.finfo(logits.dtype).eps / (2 if report.device.type == "cuda" else 1)
    return loss_error, update_error / (allowed + rounding)


def check_all(report: Report, name: str, cases: Iterator[tuple[str, Loss, Tensor, Tensor]]) -> None:
    """Check that no loss and no update differs from float64 on the CPU by more than rounding."""
    with report.check(name) as remark:
        worst, wrong, number = (0.0, 0.0), [], 0
        for case, loss, logits, targets in cases:
            errors = compare(report, loss, logits, targets)
            worst = max(worst[0], errors[0]), max(worst[1], errors[1])
            number += 1
            if not max(errors) <= 1:
                wrong.append(f"{case}: {errors[0]:.2g} {errors[1]:.2g}")
        remark(f"{number} problems, errors at most {worst[0]:.2f} and {worst[1]:.2f} of what is allowed")
        assert not wrong, f"{len(wrong)} wrong: {', '.join(wrong[:8])}"


def check_variants(report: Report) -> None:
    """Check every variant on a few problems by itself, so that the failure of one does not hide the others."""
    for name, step, dtype in variants()[:: 6 if report.quick else 1]:
        cases = (
            (str(seed), functools.partial(LOSSES[name], step=step, delta=arguments["delta"]), logits, targets)
            for seed in range(1 if report.quick else 11)
            for logits, targets, arguments in [random_problem(seed, DTYPES[dtype])]
        )
        check_all(report, f"{name}, {step}, {dtype}", cases)


def check_random_problems(report: Report) -> None:
    """Check 300 random problems in float32 and 99 in the others, with each loss and step function."""
    for dtype, number in (("float32", 300), ("float16", 99), ("bfloat16", 99)):
        cases = (
            (f"{seed} {name} {step}", functools.partial(LOSSES[name], step=step, delta=delta), logits, targets)
            for seed in range(11, 11 + number)
            for logits, targets, arguments in [random_problem(seed, DTYPES[dtype])]
            for delta in [arguments["delta"]]
            for name, step in itertools.product(LOSSES, STEPS)
        )
        check_all(report, f"random problems, {dtype}", cases)


def check_hard_problems(report: Report) -> None:
    """Check many positives, more than 2²¹ equal scores in one cell, outliers and negatives of −∞."""
    generator = torch.Generator().manual_seed(0)
    size = 500 if report.quick else 3_000_000
    scores = torch.randn(size, generator=generator)
    few = torch.randperm(size, generator=generator)[: size // 100]
    targets = torch.zeros(size, dtype=torch.int8)
    targets[few] = 1
    outlier = scores.clone()
    outlier[few[0]] = 1e5
    masked = scores.clone()
    masked[::7] = -torch.inf
    masked[few] = 0.5
    problems = {
        "thousands of positives": scores,
        "all equal": torch.full_like(scores, 0.3),
        "an outlier": outlier,
        "-inf": masked,
    }
    for (kind, logits), delta in itertools.product(problems.items(), (1.0,) if report.quick else (1e-3, 1.0)):
        cases = (
            (f"{name} {step}", functools.partial(LOSSES[name], step=step, delta=delta), logits, targets)
            for name, step in itertools.product(("ap", "auc"), STEPS)
        )
        check_all(report, f"{size:,} logits, {kind}, delta {delta:g}", cases)


def check_bits(report: Report) -> None:
    """Check that repeated calls give the same bits."""
    for stage, step in itertools.product(list(STAGES)[: 1 if report.quick else None], STEPS):
        with report.check(f"same bits, {stage}, {step}"):
            problem = stage_problem(report, stage=stage)
            loss = functools.partial(ap_loss, step=step)
            first = loss_and_update(loss, problem.logits, problem.targets)
            for _ in range(1 if report.quick else 5):
                again = loss_and_update(loss, problem.logits, problem.targets)
                assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])


def check_no_wait(report: Report) -> None:
    """Check that neither a forward nor a backward pass waits for the GPU."""
    for (name, loss), step in itertools.product(LOSSES.items(), STEPS):
        with report.check(f"no synchronisation, {name}, {step}"):
            problem = stage_problem(report)
            torch.cuda.set_sync_debug_mode("error")
            try:
                loss(problem.logits, problem.targets, step=step).backward()
            finally:
                torch.cuda.set_sync_debug_mode("default")


def check_graph(report: Report) -> None:
    """Check that a captured graph gives what a call gives, with other scores and other numbers of positives."""
    for (name, loss), step in itertools.product(LOSSES.items(), STEPS):
        with report.check(f"CUDA graph, {name}, {step}"):
            problem = stage_problem(report)
            value, update = torch.empty((), device=report.device), torch.empty_like(problem.logits)

            def call(problem=problem, loss=loss, step=step, value=value, update=update) -> None:
                result = loss(problem.logits, problem.targets, step=step)
                result.backward()
                value.copy_(result.detach())
                update.copy_(problem.logits.grad)

            graph = capture(problem, call)
            for stage, positives in (("late in training", 100), ("as at initialisation", 3000)):
                other = make_problem(ProblemSize(problem.logits.numel(), positives, stage), report.device)
                with torch.no_grad():
                    problem.logits.copy_(other.logits)
                problem.targets.copy_(other.targets)
                graph.replay()
                expected = loss_and_update(functools.partial(loss, step=step), other.logits, other.targets)
                assert value.equal(expected[0]) and update.equal(expected[1])


def twice_the_loss(loss: Loss, x: Tensor, t: Tensor) -> Tensor:
    """Return twice a loss of scores that are computed, too."""
    return 2 * loss(3 * x, t)


def check_compiled(report: Report) -> None:
    """Check a loss inside torch.compile(fullgraph=True), with several numbers of positives."""
    for name, step in (("ap", "piecewise"), ("auc", "heaviside"))[: 1 if report.quick else None]:
        with report.check(f"torch.compile(fullgraph=True), {name}, {step}"):
            twice = functools.partial(twice_the_loss, functools.partial(LOSSES[name], step=step))
            backend = "inductor" if report.device.type == "cuda" else "aot_eager"
            compiled = torch.compile(twice, backend=backend, fullgraph=True)
            for seed in range(3):
                generator = torch.Generator().manual_seed(seed)
                scores = torch.randn(640, generator=generator).to(report.device)
                targets = (torch.rand(640, generator=generator) < 0.1 * seed).to(report.device)
                expected = loss_and_update(twice, scores, targets)
                torch.testing.assert_close(loss_and_update(compiled, scores, targets), expected)


if __name__ == "__main__":
    run_part(measure)
