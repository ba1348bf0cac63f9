"""Time and peak memory of functions on problems."""

import atexit
import contextlib
import ctypes
import gc
import multiprocessing
import statistics
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch

from src.costs.functions import BUCKETED, FLOOR, FOCAL_COMPILED, FUNCTIONS, LOOP, bucketed_error
from src.costs.problems import Problem, ProblemSize, make_problem
from src.utils.memory import peak, reset_peak
from src.utils.timing import Stopwatch

Item = TypeVar("Item")
Cell = tuple[str, str]  # the row, a function's name, and the column, a problem's name


@dataclass(frozen=True)
class Costs:
    """What functions cost on problems.

    Attributes:
        rows: the functions' names.
        columns: the problems' names.
        milliseconds: the median time of a call, forward and backward.
        mebibytes: the peak memory of a call beyond what was in use before; None where the system does not report it,
            and without an entry for the rows whose memory is not measured.
        bucketed_errors: by column, the relative error of the bucketed approximation's update; empty if not measured.
    """

    rows: list[str]
    columns: list[str]
    milliseconds: dict[Cell, float]
    mebibytes: dict[Cell, float | None]
    bucketed_errors: dict[str, float]


def measure(
    names: list[str],
    columns: dict[str, ProblemSize],
    device: torch.device,
    repeats: int,
    *,
    process: Executor,
    with_errors: bool = False,
) -> Costs:
    """Measure each function on the problem of each column.

    Args:
        repeats: calls whose median time counts.
        process: of :func:`separate_process`, for the memory.
        with_errors: whether to compute the errors of the bucketed approximation, if it is among the functions.
    """
    problems = {column: make_problem(size, device) for column, size in columns.items()}
    seconds = median_seconds(names, problems, device, repeats)
    memory_rows = [name for name in names if name not in (FLOOR, LOOP)]  # the first needs no memory, the second minutes
    mebibytes: dict[Cell, float | None] = {}
    for column, size in with_progress(list(columns.items()), "memory", "column"):
        for name, used in process.submit(peak_memory_of_functions, memory_rows, size, device).result().items():
            mebibytes[name, column] = None if used is None else used / 2**20
    errors = {}
    if with_errors and BUCKETED in names:
        errors = {column: bucketed_error(problem.logits, problem.targets) for column, problem in problems.items()}
    return Costs(names, list(columns), {cell: 1e3 * value for cell, value in seconds.items()}, mebibytes, errors)


def median_seconds(
    names: list[str], problems: dict[str, Problem], device: torch.device, repeats: int
) -> dict[Cell, float]:
    """Return the median time of each function on each problem; the loop of Algorithm 1 is run once.

    Every repeat goes through all functions and problems in turn, so that a slowdown of the machine affects all.
    """
    if FOCAL_COMPILED in names:
        for problem in problems.values():  # compiling is not part of the cost
            FUNCTIONS[FOCAL_COMPILED](problem)
    in_turn = [(name, column) for column in problems for name in names if name != LOOP]
    calls = in_turn * (repeats + (repeats > 1))  # a first round is not counted if there are several
    calls += [(LOOP, column) for column in problems if LOOP in names]
    times: dict[Cell, list[float]] = {}
    for name, column in with_progress(calls, "time", "call"):
        problems[column].clear_gradients()
        with Stopwatch(device) as watch:
            FUNCTIONS[name](problems[column])
        times.setdefault((name, column), []).append(watch.seconds)
    return {cell: statistics.median(values[1:] if len(values) > 1 else values) for cell, values in times.items()}


def peak_memory(function: Callable[[], object], device: torch.device) -> int | None:
    """Return a call's peak memory in bytes, beyond what was in use before; None if the system does not report it.

    On a GPU this is allocated memory, on a CPU under Linux resident memory. The latter is repeatable only in a process
    whose allocator returns freed memory immediately, see :func:`separate_process`.
    """
    before = reset_peak(device)
    if before is None:
        return None
    function()
    return peak(device) - before


def peak_memory_of_functions(names: list[str], size: ProblemSize, device: torch.device) -> dict[str, int | None]:
    """Return the peak memory of each function on one problem, in bytes."""
    problem = make_problem(size, device)
    peaks = {}
    for name in names:
        FUNCTIONS[name](problem)  # a first call also starts threads, and loads or compiles kernels
        problem.clear_gradients()
        peaks[name] = peak_memory(partial(FUNCTIONS[name], problem), device)
    return peaks


def separate_process() -> ProcessPoolExecutor:
    """Return the pool of a fresh process in which `peak_memory` is repeatable."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _make_peaks_repeatable)


def _make_peaks_repeatable() -> None:
    # The garbage collector runs before each measurement, and need not go through all of torch's objects each time.
    gc.freeze()
    atexit.register(gc.unfreeze)  # or modules complain of what is left
    # glibc keeps freed blocks below a threshold, which grows to 32 MiB as they are freed. What is resident would then
    # depend on all that went before. With a fixed threshold every tensor above it is mapped and unmapped separately.
    mmap_threshold = -3
    with contextlib.suppress(AttributeError, TypeError):  # another C library; Windows
        ctypes.CDLL(None).mallopt(mmap_threshold, 2**16)


def with_progress(items: list[Item], description: str, unit: str) -> Iterable[Item]:
    """Return the items, with a progress bar where tqdm is installed: the rest needs torch and torchvision alone."""
    try:
        from tqdm import tqdm
    except ImportError:
        return items
    return tqdm(items, desc=description, unit=unit, disable=None, leave=False)
