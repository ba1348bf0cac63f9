"""Measure `python -m src.status` on many runs, some of them damaged: `python -m benchmarks.read_states`."""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from src.launch.sweep_records import SweepRecord, config_version, save_record

USER = 65534  # whose runs the other user's are, if this is run by root
DAMAGE: dict[str, bytes] = {  # ten ways, by the name of a file and what it then holds
    "summary.json": b"",
    "summary.json ": b'{"metrics": {"AP": 3',
    "summary.json  ": b'{"name": "a run"}',
    "summary.json   ": b"\xff\xfe\x00\x80",
    "summary.json    ": bytes(512),
    "failed.json": b"",
    "submitted.json": b"{",
    "claim.7": b"nonsense",
    "checkpoint.pt": b"",
    "data.json": b"",
}


def make_runs(outputs: Path, count: int, special: int) -> None:
    """Make folders of runs: `special` damaged ones, as many that are another user's, and otherwise finished ones."""
    names = [f"{number:010x}" for number in range(count)]
    metrics = {f"AP/class {number}": number / 7 for number in range(100)}
    for number, name in enumerate(names):
        directory = outputs / name
        log = directory / f"wandb/offline-run-1-{name}/run-{name}.wandb"
        log.parent.mkdir(parents=True)
        log.write_bytes(bytes(1000))
        noted = {str(log.relative_to(directory)): 1000}
        summary = {"name": "a run", "metrics": {"AP": 30.0, **metrics}, "seconds": 9.0, "log": noted}
        (directory / "checkpoint.pt").write_bytes(bytes(1000))
        (directory / "data.json").write_text("{}")
        if number < special:
            file, content = list(DAMAGE.items())[number % len(DAMAGE)]
            (directory / file.strip()).write_bytes(content)
            (directory / "claim.7").touch()
            os.utime(directory / "claim.7", (0, 0))
        else:
            (directory / "claim.1").write_text(json.dumps({"pid": 1, "released": True}))
            (directory / "summary.json").write_text(json.dumps(summary))
        if special <= number < 2 * special and not os.geteuid():
            for path in (directory, *directory.rglob("*")):
                os.chown(path, USER, USER)
    runs = {name: [f"seed={number}"] for number, name in enumerate(names)}
    arguments = [f"seed=range({count})", f"outputs={outputs}"]
    save_record(SweepRecord("src.run", arguments, runs, launched=True, version=config_version()), outputs)


def _cpu_seconds() -> float:
    """Return the CPU time of the processes that have ended, which other programs on the machine lengthen less."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print how long a look at all runs takes, and check that each damaged file is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.read_states", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="number of runs (default: %(default)s)")
    parser.add_argument(
        "--special", type=int, default=50, help="number of damaged runs, and of another user's (default: %(default)s)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder, "outputs")
        make_runs(outputs, options.runs, options.special)
        command = [sys.executable, "-m", "src.status", f"seed=range({options.runs})", f"outputs={outputs}"]
        for title in ("first", "again", "again"):
            start, used = time.perf_counter(), _cpu_seconds()
            shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            seconds = time.perf_counter() - start
            named = sum(f"{outputs}/{number:010x}/" in shown for number in range(options.special))
            cpu = f"{_cpu_seconds() - used:.2f} s of CPU"
            print(f"{title}: {seconds:.2f} s ({cpu}), {named} of {options.special} damaged runs named")
        print(shown[: shown.index("\n\n")])


if __name__ == "__main__":
    main()
