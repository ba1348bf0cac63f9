"""Measure the reading of many runs' logs, in time and memory: `python -m benchmarks.read_logs`."""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from src.runs.wandb_log import write_log

STEP_KEYS = [
    "loss",
    "classification_loss",
    "box_loss",
    "learning_rate",
    "loss_seconds",
    "iteration_seconds",
    "images_per_second",
    "peak_memory",
]
METRICS = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl", "VOC07", "VOC12"]
FIRST_SEED = 10**6  # so that all run ids are equally long


def write_logs(outputs: Path, count: int, steps: int) -> None:
    """Write logs of runs as src.runs.tracking leaves them, each run with another seed."""
    # Imported here so that the process that is measured has none of it in memory.
    from wandb.proto.wandb_internal_pb2 import Record

    from tests.analysis.logged import config_of

    config = config_of()
    rows = [_history_row(step) for step in range(1, steps + 1)]
    end = Record()
    end.exit.exit_code = 0
    first_log = b""
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        run = Record()
        run.run.run_id = str(seed)
        run.run.start_time.FromSeconds(1_700_000_000)
        for key, value in (config | {"seed": seed, "run_id": run.run.run_id}).items():
            run.run.config.update.add(nested_key=[key], value_json=json.dumps(value))
        file = outputs / run.run.run_id / "wandb/offline-run-1" / f"run-{run.run.run_id}.wandb"
        file.parent.mkdir(parents=True)
        write_log(file, [run] if first_log else [run, *rows, end])
        # All logs are equal but for the first record, which has one length in all: the rest is copied.
        log = file.read_bytes()
        first_log = first_log or log
        file.write_bytes(log + first_log[len(log) :])


def _history_row(step: int) -> Any:
    """Return the record of what is logged at a step."""
    from wandb.proto.wandb_internal_pb2 import Record

    values = {key: (step * 7919 % 104729) / 104729 for key in STEP_KEYS} | {"epoch": step // 100, "global_step": step}
    if step % 10 == 0:
        values["ap_loss"] = 1 / step
    if step % 200 == 0:
        values |= {key: 30 + step / 7 for key in METRICS}
    record = Record()
    for key, value in values.items():
        record.history.item.add(nested_key=[key], value_json=json.dumps(value))
    return record


def measure(outputs: Path, cache: Path) -> dict[str, float]:
    """Read all runs in this process; return its seconds, and the most memory that it was resident with, in GiB."""
    from analysis.reading.cache import read_cached

    start = time.perf_counter()
    runs = read_cached(outputs, cache)
    seconds = time.perf_counter() - start
    # Not getrusage's maximum, which begins with that of the parent process.
    (kibibytes,) = re.findall(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
    return {"runs": len(runs.counting), "seconds": seconds, "memory": int(kibibytes) / 2**20}


def main() -> None:
    """Print a table of the time and memory of a first reading and of a second, by the number of runs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.read_logs", description=__doc__)
    parser.add_argument(
        "--runs", type=int, nargs="+", default=[125, 250, 500, 1000], help="numbers of runs (default: %(default)s)"
    )
    parser.add_argument("--steps", type=int, default=2000, help="of each run (default: %(default)s)")
    parser.add_argument("--measure", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure)))
        return
    print(f"| runs of {options.steps} steps | first, s | ms a run | memory, GiB | again, s | memory, GiB |")
    print("|---|---|---|---|---|---|")
    for count in options.runs:
        with tempfile.TemporaryDirectory() as folder:
            outputs, cache = Path(folder, "outputs"), Path(folder, "cache")
            write_logs(outputs, count, options.steps)
            command = [sys.executable, "-m", "benchmarks.read_logs", "--measure", str(outputs), str(cache)]
            first, again = (json.loads(subprocess.check_output(command, stderr=subprocess.DEVNULL)) for _ in range(2))
        assert first["runs"] == again["runs"] == count
        milliseconds = 1000 * first["seconds"] / count
        print(
            f"| {count} | {first['seconds']:.1f} | {milliseconds:.0f} | {first['memory']:.2f} | "
            f"{again['seconds']:.2f} | {again['memory']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
