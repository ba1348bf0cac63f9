"""Check and measure what needs a GPU: `bash benchmarks/gpu.sh`, or in the project's folder `python -m benchmarks.gpu`.

Each part runs in a separate process with a time limit. A part that fails or runs out of time is reported, and the
others go on; the exit code is then 1. A part whose packages are not installed is skipped and named.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.parts import PARTS, QUICK_SECONDS, Part, missing_packages
from benchmarks.gpu.report import Outcome, save_outcome, summary
from benchmarks.gpu.runner import Log, format_seconds, run_with_limit


def main(words: Sequence[str] | None = None) -> int:
    """Run the parts that a command line asks for, by default all; return the exit code."""
    options = parse(words)
    options.out.mkdir(parents=True, exist_ok=True)
    log = Log(options.out / "log.txt")
    limits = {part.name: QUICK_SECONDS if options.quick else part.seconds for part in PARTS} | options.limits
    outcomes = []
    start = time.monotonic()
    for number, part in enumerate(options.parts):
        left = sum(limits[part.name] for part in options.parts[number:])
        elapsed = format_seconds(time.monotonic() - start)
        log.write(f"[{elapsed} elapsed, at most {format_seconds(left)} left] {part.name}: {part.purpose}")
        outcome = run_part(part, options, limits[part.name], log)
        save_outcome(outcome, options.out / f"{part.name}.json")
        log.write(f"    {outcome.status} after {outcome.seconds:.0f} s{f': {outcome.reason}' * bool(outcome.reason)}")
        outcomes.append(outcome)
    text = summary(outcomes, options.device, options.quick)
    (options.out / "summary.md").write_text(text)
    log.write(f"\n{text}\nWritten to {options.out}")
    return int(any(outcome.status == "failed" for outcome in outcomes))


def run_part(part: Part, options: argparse.Namespace, limit: float, log: Log) -> Outcome:
    """Run one part, unless packages that it needs are missing."""
    if missing := missing_packages(part.packages):
        return Outcome(part.name, "skipped", 0.0, f"not installed: {', '.join(missing)}")
    result_file, folder = options.out / f"{part.name}.json", options.out / "files" / part.name
    result_file.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", f"benchmarks.gpu.{part.name}", "--device", options.device]
    command += ["--quick"] * options.quick + ["--folder", str(folder), "--json", str(result_file)]
    seconds, failure = run_with_limit(command, limit, log, part.on_cpu if options.device == "cpu" else None)
    return Outcome.of_process(part.name, seconds, failure, result_file)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of a command line; a mistake ends the program."""
    parser = argparse.ArgumentParser(
        prog="gpu.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = {part.name: part for part in PARTS}
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything works")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder (default: %(default)s)")
    parser.add_argument("--only", metavar="PART[,PART]", help=f"of {', '.join(names)}")
    parser.add_argument(
        "--limit", action="append", default=[], metavar="PART=SECONDS", help="another time limit for a part"
    )
    options = parser.parse_args(words)
    if missing := missing_packages({"torch": "torch", "torchvision": "torchvision"}):
        parser.error(f"{sys.executable} has no {' and no '.join(missing)}; PYTHON=… chooses another interpreter")
    chosen = options.only.split(",") if options.only else list(names)
    limits = [text.partition("=") for text in options.limit]
    if unknown := {*chosen, *(name for name, _, _ in limits)} - set(names):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    try:
        options.limits = {name: float(seconds) for name, _, seconds in limits}
    except ValueError:
        parser.error("--limit takes PART=SECONDS")
    options.parts = [part for name, part in names.items() if name in chosen]
    options.out = options.out.resolve()
    return options


if __name__ == "__main__":
    sys.exit(main())
