"""What the paper claims about memory and time: Figs. 9 to 11."""

from dataclasses import replace
from functools import partial

import pandas as pd

from analysis.artefacts.artefact import Verdict
from analysis.artefacts.figure9 import peak_memory
from analysis.artefacts.figure11 import last_epoch, loss_milliseconds
from analysis.artefacts.losses_by_batch_size import BATCH_SIZES
from analysis.artefacts.machines import on_one_machine
from analysis.artefacts.table_cells import values_of
from analysis.claims.cost_rules import bounded, by_batch_size, exponent, groups_on_one_machine, in_each_run, residual
from analysis.claims.rules import Rule, RunGroup, Statement, compare, selected
from analysis.reading.runs import Run
from analysis.reading.settings import LOSS_TITLES, PAPER_LOSSES, Setting, is_whole_training

# Claims of each figure; for most a single seed is enough.
figure_9, figure_10, figure_11 = (
    partial(
        Statement, where=f"Section {section}, Fig. {number}", artefact=f"figure{number}", detector="retinanet", seeds=1
    )
    for section, number in (("4.3.1", 9), ("4.3.2", 10), ("4.3.2", 11))
)
STANDARD_RUNS = selected(LOSS_TITLES["ap"])
WHOLE_TRAININGS = RunGroup(
    LOSS_TITLES["ap"], lambda setting: [run for run in setting.select() if is_whole_training(run)]
)
OF_LOSSES = groups_on_one_machine([selected(LOSS_TITLES[loss], loss=loss) for loss in PAPER_LOSSES])
OF_BATCH_SIZE_8 = dict(zip(PAPER_LOSSES, OF_LOSSES, strict=True))


def time_left(run: Run) -> float:
    """Return the median time of the loss in the second half of training over that of the first fiftieth."""
    values = run.series("loss_seconds")
    return float(_part(values, 0.5, 1).median() / _part(values, 0, 0.02).median()) if len(values) else float("nan")


def mean_to_final(run: Run) -> float:
    """Return the mean time of the loss over training, over that of the last tenth."""
    values = run.series("loss_seconds")
    return float(values.mean() / _part(values, 0.9, 1).mean()) if len(values) else float("nan")


def share_of_iteration(run: Run) -> float:
    """Return the loss's part of the time of the iterations of the last epoch."""
    return last_epoch(run, "loss_seconds") / last_epoch(run, "iteration_seconds")


def memory_is_small(setting: Setting) -> Verdict | None:
    """Decide by the increase at batch size 8 over the losses without ranking, as a share of the whole."""
    on_best, _ = on_one_machine(setting.select(loss=loss) for loss in ("ap", "focal", "ohem"))
    ap, *others = (values_of(runs, peak_memory) for runs in on_best)
    if not ap or not any(others):
        return None
    least = min(value for values in others for value in values.values())
    what = f"Memory beyond the {least:.0f} MiB of the least with focal loss or OHEM, as a share:"
    increases = {run_id: value / least - 1 for run_id, value in ap.items()}
    verdict = bounded(setting, what, increases, bound=0.1, contrary=0.25)
    lacks_a_loss = not all(setting.select(loss=loss) for loss in ("focal", "ohem"))
    ids = [*ap, *(run_id for values in others for run_id in values)]
    return replace(verdict, run_ids=ids, is_open=lacks_a_loss)


def _part(values: pd.Series, start: float, end: float) -> pd.Series:
    last = values.index.max()
    return values[(values.index > start * last) & (values.index <= end * last)]


def _by_size(loss: str) -> dict[int, RunGroup]:
    return {size: selected(f"batch size {size}", loss=loss, batch_size=size) for size in BATCH_SIZES}


def growth_of_time(loss: str, *, bound: float, contrary: float) -> Rule:
    """Return the rule whether a loss's time grows with the batch size to at most this power."""
    return by_batch_size(
        what="ms; they grow with the batch size to the power of",
        metric=loss_milliseconds,
        groups=_by_size(loss),
        fit=exponent,
        bound=bound,
        contrary=contrary,
    )


COSTS = [
    figure_9(
        name="memory-is-linear",
        text="Memory grows linearly with the batch size.",
        verdict=by_batch_size(
            what="MiB; 1 − R² of a line is",
            metric=peak_memory,
            groups=_by_size("ap"),
            fit=residual,
            bound=0.02,
            contrary=0.1,
        ),
    ),
    figure_9(
        name="memory-is-small",
        text="AP-loss needs hardly more memory than focal loss and OHEM: less than a tenth more.",
        verdict=memory_is_small,
    ),
    figure_10(
        name="time-falls-early",
        text="The time of AP-loss falls early in training and then stays the same.",
        verdict=in_each_run(
            what="Median time of the second half over that of the first fiftieth of the steps:",
            metric=time_left,
            group=WHOLE_TRAININGS,
            bound=0.9,
            contrary=1.0,
        ),
    ),
    figure_10(
        name="mean-time-is-the-final-one",
        text="The mean time of AP-loss over training is close to that at its end.",
        verdict=in_each_run(
            what="Mean time of all steps over that of the last tenth:",
            metric=mean_to_final,
            group=WHOLE_TRAININGS,
            bound=1.25,
            contrary=1.5,
        ),
    ),
    figure_11(
        name="time-is-near-linear",
        text="The time of AP-loss grows hardly faster than linearly with the batch size.",
        verdict=growth_of_time("ap", bound=1.3, contrary=1.6),
    ),
    figure_11(
        name="focal-time-is-constant",
        text="The time of focal loss stays almost the same as the batch size grows.",
        verdict=growth_of_time("focal", bound=0.3, contrary=0.7),
    ),
    figure_11(
        name="focal-is-cheapest",
        text="Focal loss takes the least time.",
        # At the paper's batch size 8, by test if there are several seeds; of each run it is a mean over an epoch.
        verdict=compare(
            what="Milliseconds",
            metric=loss_milliseconds,
            first=OF_BATCH_SIZE_8["focal"],
            others=[group for loss, group in OF_BATCH_SIZE_8.items() if loss != "focal"],
            least=True,
            digits=2,
        ),
        seeds=2,
    ),
    figure_11(
        name="a-third-of-the-iteration",
        text="AP-loss takes no more than about a third of an iteration's time.",
        verdict=in_each_run(
            what="AP-loss's part of an iteration's time:",
            metric=share_of_iteration,
            group=STANDARD_RUNS,
            bound=0.4,
            contrary=0.5,
        ),
    ),
]
