"""What the paper claims of memory and time: Figs. 9 to 11."""

from dataclasses import replace

import pandas as pd

from analysis.artefacts.artefact import Verdict
from analysis.artefacts.figure9 import peak_memory
from analysis.artefacts.figure11 import BATCH_SIZES, last_epoch
from analysis.artefacts.table_cells import values_of
from analysis.claims.rules import Statement, by_batch_size, compare, exponent, in_each_run, on_one_machine, residual
from analysis.reading.runs import Run
from analysis.reading.settings import LOSS_TITLES, Setting


def _milliseconds(run: Run) -> float:
    return 1000 * last_epoch(run, "loss_seconds")


def _sizes(loss: str, setting: Setting) -> dict[int, list[Run]]:
    return {size: setting.select(loss=loss, batch_size=size) for size in BATCH_SIZES}


def _memory_is_linear(setting: Setting) -> Verdict | None:
    what = "MiB; 1 − R² of a line is"
    return by_batch_size(setting, what, peak_memory, _sizes("ap", setting), residual, 0.02, 0.1)


def _memory_is_small(setting: Setting) -> Verdict | None:
    """At the largest batch size: the increase over the losses that rank nothing, as a share of the whole."""
    groups = on_one_machine([(loss, setting.select(loss=loss)) for loss in ("ap", "focal", "ohem")])
    values = {loss: values_of(runs, peak_memory) for loss, runs in groups}
    others = [value for loss in ("focal", "ohem") for value in values[loss].values()]
    if not values["ap"] or not others:
        return None
    least = min(others)

    def increase(run: Run) -> float:
        return peak_memory(run) / least - 1

    what = f"Memory beyond the {least:.0f} MiB of the least with focal loss or OHEM, as a share:"
    found = in_each_run(setting, what, increase, groups[0][1], 0.1, 0.25)
    return replace(found, run_ids=[run_id for of in values.values() for run_id in of]) if found else None


def _parts(values: pd.Series, start: float, end: float) -> pd.Series:
    last = values.index.max()
    return values[(values.index > start * last) & (values.index <= end * last)]


def left_of_first(run: Run) -> float:
    """The median time of the loss in the second half of training, over that of the first fiftieth."""
    values = run.series("loss_seconds")
    return float(_parts(values, 0.5, 1).median() / _parts(values, 0, 0.02).median()) if len(values) else float("nan")


def mean_to_final(run: Run) -> float:
    """The mean time of the loss over training, over that of the last tenth."""
    values = run.series("loss_seconds")
    return float(values.mean() / _parts(values, 0.9, 1).mean()) if len(values) else float("nan")


def share_of_iteration(run: Run) -> float:
    """The loss's part of the time of the iterations of the last epoch."""
    return last_epoch(run, "loss_seconds") / last_epoch(run, "iteration_seconds")


def _falls_early(setting: Setting) -> Verdict | None:
    what = "Median time of the second half over that of the first fiftieth of the steps:"
    return in_each_run(setting, what, left_of_first, setting.select(), 0.9, 1.0)


def _mean_is_final(setting: Setting) -> Verdict | None:
    what = "Mean time of all steps over that of the last tenth:"
    return in_each_run(setting, what, mean_to_final, setting.select(), 1.25, 1.5)


def _near_linear(setting: Setting) -> Verdict | None:
    what = "ms; they grow with the batch size to the power of"
    return by_batch_size(setting, what, _milliseconds, _sizes("ap", setting), exponent, 1.3, 1.6)


def _focal_is_constant(setting: Setting) -> Verdict | None:
    what = "ms; they grow with the batch size to the power of"
    return by_batch_size(setting, what, _milliseconds, _sizes("focal", setting), exponent, 0.3, 0.7)


def _focal_is_cheapest(setting: Setting) -> Verdict | None:
    """At the paper's batch size 8: by test if there are several seeds, of which each run is a mean over an epoch."""
    groups = dict(on_one_machine([(title, setting.select(loss=loss)) for loss, title in LOSS_TITLES.items()]))
    focal = (LOSS_TITLES["focal"], groups.pop(LOSS_TITLES["focal"]))
    return compare(setting, "Milliseconds", _milliseconds, focal, list(groups.items()), least=True, digits=2)


def _third_of_the_iteration(setting: Setting) -> Verdict | None:
    what = "AP-loss's part of an iteration's time:"
    return in_each_run(setting, what, share_of_iteration, setting.select(), 0.4, 0.5)


TIME, COST = "Section 4.3.2, Fig. 10", "Section 4.3.2, Fig. 11"
COSTS = [
    Statement(
        "memory-is-linear",
        "Memory grows linearly with the batch size.",
        "Section 4.3.1, Fig. 9",
        "figure9",
        _memory_is_linear,
        seeds=1,
    ),
    Statement(
        "memory-is-small",
        "What AP-loss takes more of memory than focal loss and OHEM is negligible, under a tenth.",
        "Section 4.3.1, Fig. 9",
        "figure9",
        _memory_is_small,
        seeds=1,
    ),
    Statement(
        "time-falls-early",
        "AP-loss's time falls early in training, and then stays.",
        TIME,
        "figure10",
        _falls_early,
        seeds=1,
    ),
    Statement(
        "mean-time-is-the-final-one",
        "AP-loss's mean time over training is close to that at its end.",
        TIME,
        "figure10",
        _mean_is_final,
        seeds=1,
    ),
    Statement(
        "time-is-near-linear",
        "AP-loss's time grows almost linearly with the batch size.",
        COST,
        "figure11",
        _near_linear,
        seeds=1,
    ),
    Statement(
        "focal-time-is-constant",
        "Focal loss's time stays almost the same as the batch size grows.",
        COST,
        "figure11",
        _focal_is_constant,
        seeds=1,
    ),
    Statement("focal-is-cheapest", "Focal loss has the lowest time cost.", COST, "figure11", _focal_is_cheapest),
    Statement(
        "a-third-of-the-iteration",
        "AP-loss takes about a third of an iteration's time, and no more.",
        COST,
        "figure11",
        _third_of_the_iteration,
        seeds=1,
    ),
]
