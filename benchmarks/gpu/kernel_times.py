"""How long the kernels take, beside torch's code, focal loss and the memory-bandwidth floor; for kernels.py."""

import contextlib
import itertools
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from src.costs.functions import FLOOR, FOCAL, FOCAL_COMPILED, FUNCTIONS
from src.costs.problems import STAGES, Problem, ProblemSize, make_problem
from src.costs.table import Table
from src.losses import launch
from src.losses.gpu import kernels

SIZES = (5_240_000, 1_310_400, 327_680, 20_960_000)  # multiples of 160
POSITIVES = 1600
SECONDS = 50.0  # after which no other shapes are tried
LOSS = "ap_loss"
KERNELS, GRAPH, TORCH = "kernels", "kernels in a CUDA graph", "torch code"
FOCAL_GRAPH = "compiled focal in a CUDA graph"
NAMES = [KERNELS, GRAPH, TORCH, FOCAL, FOCAL_COMPILED, FOCAL_GRAPH, FLOOR]


@dataclass
class Report:
    """What has been found so far."""

    device: torch.device
    quick: bool
    checks: list[list[str]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    start: float = field(default_factory=time.perf_counter)

    @contextlib.contextmanager
    def check(self, name: str) -> Iterator[Callable[[str], None]]:
        """Run a check, which may add a remark; an error fails it, is printed, and goes no further."""
        remarks: list[str] = []
        start = time.perf_counter()
        try:
            yield remarks.append
            passed = True
        except Exception as error:
            lines = [*str(error).splitlines()[:30], *traceback.format_exc(limit=-3).splitlines()[-30:]]
            print(*lines, sep="\n", flush=True)
            remarks.append(f"{type(error).__name__}: {next(iter(lines), '')}")
            self.failures.append(f"{name}: {remarks[-1]}")
            passed = False
        row = [name, "yes" if passed else "NO", "; ".join(remarks), f"{time.perf_counter() - start:.1f}"]
        self.checks.append(row)
        print(*row, sep=" | ", flush=True)


def stage_problem(report: Report, logits: int = 1_310_400, stage: str = "half-way") -> Problem:
    """Return a problem like that of a detector in training."""
    size = ProblemSize(1_600, 20, stage) if report.quick else ProblemSize(logits, POSITIVES, stage)
    return make_problem(size, report.device)


def capture(problem: Problem, call: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """Return a CUDA graph of what a call launches, after calls that compile it."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            problem.clear_gradients()
            call()
    torch.cuda.current_stream().wait_stream(side)
    problem.clear_gradients()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph


def measure_times(report: Report) -> None:
    """Time forward and backward passes of AP-loss and what it is compared with."""
    rows = []
    for size, stage in itertools.product(SIZES, STAGES):
        problem = make_problem(ProblemSize(size, POSITIVES, stage), report.device)
        times = dict.fromkeys(NAMES, torch.nan)
        for name in NAMES:
            with report.check(f"{size:,} {stage}: {name}") as remark:
                times[name], host = milliseconds(name, problem)
                remark(f"{times[name]:.3f} ms, of which {host:.3f} ms are the host's")
        ratios = [f"{times[KERNELS] / times[FOCAL_COMPILED]:.2f}×", f"{times[GRAPH] / times[FOCAL_GRAPH]:.2f}×"]
        ratios.append(f"{times[GRAPH] / times[FLOOR]:.1f}×")
        rows.append([f"{size:,}", stage, *(f"{milliseconds:.3f}" for milliseconds in times.values()), *ratios])
        report.values[f"milliseconds, {size}, {stage}"] = times
        print(*rows[-1], flush=True)
    header = ["logits", "stage", *NAMES, "kernels / compiled focal", "the same in graphs", "graph / floor"]
    report.tables.append(Table(f"Milliseconds forward and backward with {POSITIVES} positives", header, rows))


def milliseconds(name: str, problem: Problem) -> tuple[float, float]:
    """Return the median time of a forward and backward pass among many in a row, and that of the host to launch it."""
    function = FUNCTIONS[{KERNELS: LOSS, GRAPH: LOSS, TORCH: LOSS, FOCAL_GRAPH: FOCAL_COMPILED}.get(name, name)]

    def call() -> None:
        problem.clear_gradients()
        function(problem)

    if name in (GRAPH, FOCAL_GRAPH):
        call = capture(problem, lambda: function(problem)).replay
    inner, repeats = (2, 3) if name == TORCH else (30, 11)
    times, host_times = [], []
    with kernels(False) if name == TORCH else contextlib.nullcontext():
        for repeat in range(repeats + 1):  # the first warms up
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            torch.cuda.synchronize()
            start = time.perf_counter()
            begin.record()
            for _ in range(inner):
                call()
            end.record()
            host = time.perf_counter() - start
            end.synchronize()
            if repeat:
                times.append(begin.elapsed_time(end) / inner)
                host_times.append(host / inner * 1e3)
    return statistics.median(times), statistics.median(host_times)


OTHER_SHAPES = {
    "collect": [(1024, 4), (4096, 4)],
    "rank": [(4, 4), (8, 4)],
    "count": [(256, 2), (1024, 8)],  # four scores a thread, as it adds them up
    "solve": [(1024, 8), (4096, 32)],
    "update": [(256, 2), (1024, 8)],
}


def try_shapes(report: Report) -> None:
    """Time each kernel with other numbers of logits and warps of a program, as long as there is time."""
    rows = []
    problems = {stage: stage_problem(report, SIZES[0], stage) for stage in STAGES}
    for kernel, shapes in OTHER_SHAPES.items():
        usual = launch.SHAPES[kernel]
        for shape in (usual, *shapes):
            if time.perf_counter() > report.start + SECONDS:
                break
            with report.check(f"{kernel} with blocks of {shape[0]} and {shape[1]} warps") as remark:
                launch.SHAPES[kernel] = shape
                launch.forget()
                times = [microseconds_of_kernels(problem).get(kernel, torch.nan) for problem in problems.values()]
                rows.append([kernel, str(shape), *(f"{microseconds:.1f}" for microseconds in times)])
                remark(", ".join(rows[-1][2:]) + " µs")
        launch.SHAPES[kernel] = usual
        launch.forget()
    report.tables.append(Table(f"µs at {SIZES[0]:,} logits", ["kernel", "block, warps", *STAGES], rows))


def microseconds_of_kernels(problem: Problem, calls: int = 5) -> dict[str, float]:
    """Return the time on the GPU of each kernel in a forward and backward pass."""
    FUNCTIONS[LOSS](problem)
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(calls):
            problem.clear_gradients()
            FUNCTIONS[LOSS](problem)
        torch.cuda.synchronize()
    events = profiler.key_averages()
    return {event.key: event.self_device_time_total / calls for event in events if event.self_device_time_total > 0}


def profile_kernels(report: Report) -> None:
    """Time each kernel by itself."""
    for size, stage in itertools.product(SIZES[:1], STAGES):
        with report.check(f"profile, {size:,} {stage}"):
            problem = make_problem(ProblemSize(size, POSITIVES, stage), report.device)
            times = sorted(microseconds_of_kernels(problem).items(), key=lambda item: -item[1])
            rows = [[name[:60], f"{microseconds:.1f}"] for name, microseconds in times]
            report.tables.append(Table(f"Kernels at {size:,} logits, {stage}", ["kernel", "µs"], rows))
            for row in rows:
                print(*row, flush=True)
