"""Losses over the logits of two processes that share the device, against one process that has them all.

NCCL usually refuses two processes on one GPU; gloo then takes its place, with tensors that stay on the GPU.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.gpu.part import PartOptions, PartResult, run_part
from src.costs.table import Table
from src.utils import paths

TOLERANCES = {"float64": 1e-12, "float32": 1e-6}  # those of tests/losses/test_process_group.py
BACKENDS = {"cuda": ["nccl", "gloo"], "cpu": ["gloo"]}
SECONDS = {"cuda": 35, "cpu": 240}  # for one backend: a collective whose partner is gone can wait for long


def measure(options: PartOptions) -> PartResult:
    """Compare losses and updates with the first backend that works."""
    notes: list[str] = []
    for backend in BACKENDS[options.device]:
        folder = options.folder / backend
        folder.mkdir(parents=True, exist_ok=True)
        reason = launch(backend, options.device, folder)
        if reason is None:
            return report(backend, folder, notes)
        notes.append(f"{backend} does not work here: {reason}")
        print(notes[-1], flush=True)
    return PartResult([], {"notes": notes}, ["no backend works", *notes])


def launch(backend: str, device: str, folder: Path) -> str | None:
    """Run the worker in two processes; return why they failed, in one line, or None."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "benchmarks.gpu.two_processes_worker", backend, device, str(folder)]
    process = subprocess.Popen(command, cwd=paths.ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        output, _ = process.communicate(timeout=SECONDS[device])
    except subprocess.TimeoutExpired:
        process.terminate()  # which torchrun hands on to its processes
        process.communicate(timeout=30)
        return f"no answer within {SECONDS[device]} s"
    print(output, flush=True)
    if process.returncode == 0:
        return None
    errors = [line.strip() for line in output.splitlines() if "Error" in line or "Duplicate GPU" in line]
    telling = [line for line in errors if "Duplicate GPU" in line] or errors or [f"exit code {process.returncode}"]
    return telling[0]


def report(backend: str, folder: Path, notes: list[str]) -> PartResult:
    """Return the larger error of the two processes for each loss."""
    answers = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]
    rows: list[list[str]] = []
    values: dict[str, Any] = {}
    failures: list[str] = []
    for name in answers[0]:
        loss, update = (max(answer[name][key] for answer in answers) for key in ("loss", "update"))
        tolerance = TOLERANCES[name.rpartition(" ")[2]]
        passed = loss <= tolerance and update <= tolerance
        if not passed:
            failures.append(f"{name} of two processes differs from that of one")
        rows.append([name, f"{loss:.1e}", f"{update:.1e}", f"{tolerance:.1e}", "yes" if passed else "NO"])
        values[name] = {"loss_error": loss, "update_error": update, "tolerance": tolerance}
    header = ["function and dtype", "error of loss", "error of update", "at most", "passed"]
    title = "; ".join([f"Largest relative errors of two processes over {backend}, against one process", *notes])
    return PartResult([Table(title, header, rows)], {"backend": backend, "notes": notes, "errors": values}, failures)


if __name__ == "__main__":
    run_part(measure)
