"""What the losses cost on the device: the tables of `python -m src.costs --compiled`."""

import torch

from benchmarks.gpu.part import PartOptions, PartResult, run_part
from src.costs.functions import FOCAL_COMPILED, FUNCTIONS, LOOP, why_not_compiled
from src.costs.measure import Costs, separate_process
from src.costs.measure import measure as measure_costs
from src.costs.problems import SCALING_STAGE, scaling_columns, stage_columns
from src.costs.tables import scaling_tables, stage_tables

LOGITS, POSITIVES, REPEATS = 5_240_000, 1600, 11  # the defaults of `python -m src.costs`
QUICK = 16_000, 20, 1


def measure(options: PartOptions) -> PartResult:
    """Measure every function but the loop of Algorithm 1 in all stages of training; quick in one, without scaling."""
    device = torch.device(options.device)
    names = [name for name in FUNCTIONS if name != LOOP]
    failures = []
    logits, positives, repeats = QUICK if options.quick else (LOGITS, POSITIVES, REPEATS)
    stages, scaling = stage_columns(logits, positives), scaling_columns(logits, positives)
    if options.quick:
        stages, scaling = dict(list(stages.items())[:1]), []
    if reason := why_not_compiled(next(iter(stages.values())), device):
        names.remove(FOCAL_COMPILED)
        failures.append(f"no row {FOCAL_COMPILED}: {reason}")
    with separate_process() as process:
        costs = measure_costs(names, stages, device, repeats, process=process, with_errors=True)
        tables, values = stage_tables(costs), {"stages": as_rows(costs)}
        for key, columns in zip(("logits", "positives"), scaling, strict=False):
            costs = measure_costs(names, columns, device, repeats, process=process)
            tables += scaling_tables(costs, SCALING_STAGE)
            values[key] = as_rows(costs)
    return PartResult(tables, values, failures)


def as_rows(costs: Costs) -> list[dict[str, str | float | None]]:
    """Return the costs as records of function, column, milliseconds and MiB."""
    return [
        {
            "function": name,
            "column": column,
            "milliseconds": milliseconds,
            "mebibytes": costs.mebibytes.get((name, column)),
        }
        for (name, column), milliseconds in costs.milliseconds.items()
    ]


if __name__ == "__main__":
    run_part(measure)
