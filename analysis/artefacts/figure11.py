"""Fig. 11: the time of each loss by batch size, over the last epoch."""

from analysis.artefacts.artefact import Artefact
from analysis.artefacts.losses_by_batch_size import Quantity, losses_by_batch_size
from analysis.artefacts.table_cells import sections_by_setting
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import LOSS_TITLES, is_whole_training

TITLE = "Fig. 11: time by batch size"
CAPTION = (
    "Milliseconds of each loss, forward and backward, by batch size: the mean over the last epoch, or over the second "
    "half of the steps where only the first ones of a training were measured (schedule.steps)."
)


def build(runs: Runs) -> Artefact:
    """Build a panel for each setting that has a run of it."""
    quantity = Quantity("time", "milliseconds", "ms", 1, loss_milliseconds)
    sections = sections_by_setting(
        runs,
        lambda setting: losses_by_batch_size(setting, "figure11", quantity, LOSS_TITLES),
        whole_trainings=False,
    )
    return Artefact("figure11", TITLE, CAPTION, sections)


def loss_milliseconds(run: Run) -> float:
    """Return the mean time of the loss over the last epoch; NaN if it was not logged."""
    return 1000 * last_epoch(run, "loss_seconds")


def last_epoch(run: Run, key: str) -> float:
    """Return the mean of a value over the steps of the last epoch; NaN if it was not logged.

    Of a training of so many steps, over their second half: kernels are compiled and memory is requested in the first.
    """
    epochs, values = run.series("epoch"), run.series(key)
    if not is_whole_training(run):
        return float(values[values.index > values.index.max() / 2].mean())
    return float(values[values.index.isin(epochs.index[epochs == epochs.max()])].mean())
