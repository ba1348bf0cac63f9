"""Measure what one busy process beside a training costs the losses, on a CPU.

    python -m benchmarks.busy_neighbour                    1.31 million logits, 400 positives, two threads
    python -m benchmarks.busy_neighbour --threads 1

Quiet and busy calls take turns, function by function, in one process; the busy neighbour is stopped in between. Ratios
are of medians. Run it where nothing else runs.
"""

import argparse
import multiprocessing
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from src.costs.problems import BATCH_MULTIPLE, STAGES, Problem, ProblemSize, make_problem
from src.losses import ap_loss, focal_loss

SETTLING_SECONDS = 0.02  # for the scheduler to notice that a process has begun or stopped to compute
Loss = Callable[[Tensor, Tensor], Tensor]


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.busy_neighbour",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--logits", type=int, default=1_310_720, help="number of scores (default: %(default)s)")
    parser.add_argument("--positives", type=int, default=400, help="how many are positive (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=15, help="calls whose median counts (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: %(default)s)")
    options = parser.parse_args(words)
    torch.set_num_threads(options.threads)
    logits = options.logits // BATCH_MULTIPLE * BATCH_MULTIPLE
    print(f"{logits:,} logits, {options.positives:,} positives, {options.threads} threads, n = {options.repeats}")
    print(f"{os.cpu_count()} cores, torch {torch.__version__}, {time.strftime('%F')}\n")
    print("| function | scores | quiet, ms | busy, ms | busy / quiet |\n| --- | --- | --- | --- | --- |")
    for stage in STAGES:
        problem = make_problem(ProblemSize(logits, options.positives, stage))
        times = measure({"ap_loss": ap_loss, "focal_loss": focal_loss}, problem, options.repeats)
        for name, (quiet, busy) in times.items():
            print(f"| {name} | {stage} | {1e3 * quiet:.1f} | {1e3 * busy:.1f} | {busy / quiet:.2f} |", flush=True)


def measure(losses: dict[str, Loss], problem: Problem, repeats: int) -> dict[str, tuple[float, float]]:
    """Return the median seconds of each loss, forward and backward, without and with a busy neighbour."""
    times: dict[tuple[str, bool], list[float]] = {(name, busy): [] for name in losses for busy in (False, True)}
    with busy_process() as neighbour:
        for repeat in range(-2, repeats):  # the first rounds are not counted
            for busy in (False, True):
                os.kill(neighbour, signal.SIGCONT if busy else signal.SIGSTOP)
                time.sleep(SETTLING_SECONDS)
                for name, loss in losses.items():
                    problem.clear_gradients()
                    start = time.perf_counter()
                    loss(problem.logits, problem.targets).backward()
                    if repeat >= 0:
                        times[name, busy].append(time.perf_counter() - start)
    medians = {key: statistics.median(values) for key, values in times.items()}
    return {name: (medians[name, False], medians[name, True]) for name in losses}


@contextmanager
def busy_process() -> Iterator[int]:
    """Run a process that computes all the time; its id."""
    process = multiprocessing.get_context("spawn").Process(target=_compute, daemon=True)
    process.start()
    assert process.pid is not None
    try:
        yield process.pid
    finally:
        process.kill()
        process.join()


def _compute() -> None:
    while True:
        pass


if __name__ == "__main__":
    main()
