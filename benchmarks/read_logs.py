"""Measures the reading of many runs, with their time and memory: `python -m benchmarks.read_logs`."""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from src.runs.wandb_log import write_log

KEYS = [
    "loss",
    "classification_loss",
    "box_loss",
    "learning_rate",
    "loss_seconds",
    "iteration_seconds",
    "images_per_second",
    "peak_memory",
]
EVALUATED = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl", "VOC07", "VOC12"]


def write(folder: Path, count: int, steps: int) -> None:
    """Logs of runs as src.runs.tracking leaves them, one a seed."""
    # Here alone, so that what is measured has none of it in memory.
    from wandb.proto.wandb_internal_pb2 import Record

    from tests.analysis.logged import config_of

    config = config_of()
    rows = []
    for step in range(1, steps + 1):
        values = {key: (step * 7919 % 104729) / 104729 for key in KEYS} | {"epoch": step // 100, "global_step": step}
        if step % 10 == 0:
            values["ap_loss"] = 1 / step
        if step % 200 == 0:
            values |= {key: 30 + step / 7 for key in EVALUATED}
        record = Record()
        for key, value in values.items():
            record.history.item.add(nested_key=[key], value_json=json.dumps(value))
        rows.append(record)
    end = Record()
    end.exit.exit_code = 0
    template = b""
    for seed in range(10**6, 10**6 + count):
        run = Record()
        run.run.run_id = str(seed)
        run.run.start_time.FromSeconds(1_700_000_000)
        for key, value in (config | {"seed": seed, "run_id": run.run.run_id}).items():
            run.run.config.update.add(nested_key=[key], value_json=json.dumps(value))
        file = folder / run.run.run_id / "wandb/offline-run-1" / f"run-{run.run.run_id}.wandb"
        file.parent.mkdir(parents=True)
        write_log(file, [run] if template else [run, *rows, end])
        # But for its first record, of one length, each log is that of the first run.
        written = file.read_bytes()
        template = template or written
        file.write_bytes(written + template[len(written) :])


def measure(outputs: Path, kept: Path) -> dict[str, float]:
    """Seconds of a reading, and the most memory that its main process was resident with, in GiB."""
    from analysis.reading.cache import read_cached

    start = time.perf_counter()
    runs = read_cached(outputs, kept)
    seconds = time.perf_counter() - start
    # Not what getrusage tells, which begins with the most of the process that started this one.
    most = int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])
    return {"runs": len(runs.counting), "seconds": seconds, "memory": most / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, nargs="+", default=[125, 250, 500, 1000])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--measure", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    print(f"| runs of {arguments.steps} steps | first, s | ms a run | memory, GiB | again, s | memory, GiB |")
    print("|---|---|---|---|---|---|")
    for count in arguments.runs:
        with tempfile.TemporaryDirectory() as folder:
            outputs, kept = Path(folder, "outputs"), Path(folder, "kept")
            write(outputs, count, arguments.steps)
            command = [sys.executable, "-m", "benchmarks.read_logs", "--measure", outputs, kept]
            first, again = (json.loads(subprocess.check_output(command, stderr=subprocess.DEVNULL)) for _ in range(2))
        assert first["runs"] == again["runs"] == count
        each = 1000 * first["seconds"] / count
        print(
            f"| {count} | {first['seconds']:.1f} | {each:.0f} | {first['memory']:.2f} | {again['seconds']:.2f} | "
            f"{again['memory']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
