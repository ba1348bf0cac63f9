"""Measure what the losses cost: time of forward and backward pass, and peak memory.

    python -m src.costs                        5.24 million logits, 1600 positives: VOC, batch 8 at 512 × 512
    python -m src.costs --device cuda
    python -m src.costs --compiled             also focal loss under torch.compile
    python -m src.costs --compiled --only ap_loss,auc_loss --sizes 327680,1310720,5240000,20950000
                                               only times, by number of logits, compared with compiled focal loss
    python -m src.costs --loop                 also the loop of Algorithm 1, which takes minutes

ohem_loss has one more output for each anchor, 21 for 20 classes; the bucketed approximation sorts all scores.
"""

import argparse
import time
from collections.abc import Sequence

import torch
import torchvision

from src.costs.functions import FOCAL, FOCAL_COMPILED, FUNCTIONS, LOOP, OPTIONAL, why_not_compiled
from src.costs.measure import measure, median_seconds, separate_process
from src.costs.problems import (
    BATCH_MULTIPLE,
    CLASSES,
    SCALING_STAGE,
    make_problem,
    scaling_columns,
    size_columns,
    stage_columns,
)
from src.costs.table import Table
from src.costs.tables import scaling_tables, size_table, stage_tables
from src.utils.device import choose_device
from src.utils.errors import exit_on_user_error
from src.utils.printing import print_while_read
from src.utils.text import counted


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print what a command line asks for, by default this process's."""
    options = parse(words)
    logits, positives, device = options.logits, options.positives, options.device
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # the one that a Stopwatch waits for
    print_while_read(header(options))
    stages = stage_columns(logits, positives)
    if options.compiled and (reason := why_not_compiled(next(iter(stages.values())), device)):
        print(f"Without the row {FOCAL_COMPILED}: {reason}")
        options.names.remove(FOCAL_COMPILED)

    if options.sizes:
        columns = size_columns(options.sizes)
        problems = {column: make_problem(size, device) for column, size in columns.items()}
        seconds = median_seconds(options.names, problems, device, options.repeats)
        unit = FOCAL_COMPILED if FOCAL_COMPILED in options.names else FOCAL
        milliseconds = {cell: 1e3 * value for cell, value in seconds.items()}
        print_tables([size_table(milliseconds, options.names, list(columns), unit)])
        return

    with_loop = options.names + [LOOP] * options.loop
    with separate_process() as process:
        costs = measure(with_loop, stages, device, options.repeats, process=process, with_errors=True)
        print_tables(stage_tables(costs))
        for columns in scaling_columns(logits, positives):
            costs = measure(options.names, columns, device, options.repeats, process=process)
            print_tables(scaling_tables(costs, SCALING_STAGE))


def print_tables(tables: list[Table]) -> None:
    """Print tables, each after an empty line."""
    for table in tables:
        print_while_read(f"\n{table.markdown()}")


def header(options: argparse.Namespace) -> str:
    """Return what was measured, against what, and where."""
    threads = counted(torch.get_num_threads(), "CPU thread")
    machine = f"{torch.cuda.get_device_name(options.device)}, {threads}" if options.device.type == "cuda" else threads
    problem = f"{options.logits:,} logits, {options.positives:,} positives"
    ratios = f"; ratios are to torchvision's {FOCAL}, eager"
    if options.sizes:
        problem, ratios = f"scores {SCALING_STAGE}, one positive for 3275 logits", ""
    return (
        f"{problem}, float32, δ = 1, median of {options.repeats}{ratios}\n"
        f"{machine}, torch {torch.__version__}, torchvision {torchvision.__version__}, {time.strftime('%F')}"
    )


def _sizes(text: str) -> list[int]:
    if not all(word.isdecimal() for word in text.split(",")):
        raise argparse.ArgumentTypeError("must be numbers of logits, such as 327680,1310720")
    sizes = [int(word) for word in text.split(",")]
    if min(sizes) < 4 * BATCH_MULTIPLE:
        raise argparse.ArgumentTypeError(f"each must be at least {4 * BATCH_MULTIPLE}")
    return sizes


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of a command line, with the names of the rows; a mistake ends the program."""
    parser = argparse.ArgumentParser(
        prog="python -m src.costs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--logits", type=int, default=5_240_000, help="number of scores (default: %(default)s)")
    parser.add_argument("--positives", type=int, default=1600, help="how many are positive (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=11, help="calls to take the median of (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, … (default: %(default)s)")
    parser.add_argument("--compiled", action="store_true", help=f"also {FOCAL} compiled by torch.compile")
    parser.add_argument("--loop", action="store_true", help="also the loop of Algorithm 1, in the first table only")
    parser.add_argument("--sizes", type=_sizes, metavar="N[,N]", help="only times, for each of these numbers of logits")
    parser.add_argument("--only", metavar="NAME[,NAME]", help="measure only these functions and focal loss")
    options = parser.parse_args(words)
    with exit_on_user_error():
        options.device = choose_device(options.device)
    options.logits = options.logits // BATCH_MULTIPLE * BATCH_MULTIPLE
    # One for each anchor of the smallest problem, which has a quarter of the logits.
    most = options.logits // 4 // BATCH_MULTIPLE * BATCH_MULTIPLE // CLASSES
    if not 4 <= options.positives <= most:
        limits = f"{options.logits:,} logits can have 4 to {most:,} positives"
        parser.error(f"{limits}, one for each anchor of a quarter of them")
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    options.names = [name for name in FUNCTIONS if name not in OPTIONAL]
    if options.only:
        only = options.only.split(",")
        if unknown := set(only) - set(options.names):
            parser.error(f"no such function: {', '.join(sorted(unknown))}; there are {', '.join(options.names)}")
        options.names = [name for name in options.names if name in {FOCAL, *only}]
    if options.compiled:
        options.names.insert(1, FOCAL_COMPILED)
    return options


if __name__ == "__main__":
    main()
