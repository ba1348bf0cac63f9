"""Fig. 9: the memory that training takes with each loss, by batch size."""

from dataclasses import replace

from analysis.artefacts.artefact import Artefact, Section
from analysis.artefacts.losses_by_batch_size import Quantity, losses_by_batch_size
from analysis.artefacts.machines import machine
from analysis.artefacts.table_cells import sections_by_setting
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import LOSS_TITLES, Setting

TITLE = "Fig. 9: memory by batch size"
CAPTION = (
    "Peak memory of training before its first evaluation: on a GPU the memory of tensors, on a CPU the resident memory "
    "of the whole process, with Python and the libraries. Where a run without a loss exists, which "
    "backpropagates zeros (loss=none), a second panel shows what each loss adds to it. On a CPU the allocator keeps "
    "freed memory, so the peak varies from run to run: python -m src.costs measures the losses alone."
)


def build(runs: Runs) -> Artefact:
    """Build a panel for each setting that has a run of it."""
    return Artefact("figure9", TITLE, CAPTION, sections_by_setting(runs, _section, whole_trainings=False))


def _section(setting: Setting) -> Section:
    total = Quantity("memory", "memory (GiB)", "GiB", 2, lambda run: peak_memory(run) / 1024)
    titles = {"none": "no loss", **LOSS_TITLES}
    section = losses_by_batch_size(setting, "figure9", total, titles)
    added = Quantity("added", "memory beyond no loss (MiB)", "MiB", 0, lambda run: added_memory(run, setting))
    return replace(
        section, panels=[*section.panels, *losses_by_batch_size(setting, "figure9", added, LOSS_TITLES).panels]
    )


def added_memory(run: Run, setting: Setting) -> float:
    """Return what a run takes beyond those without a loss at its batch size on its machine, in MiB; NaN without any."""
    without_loss = setting.select(loss="none", batch_size=int(run.config["batch_size"]))
    peaks = [peak_memory(other) for other in without_loss if machine(other) == machine(run)]
    return peak_memory(run) - sum(peaks) / len(peaks) if peaks else float("nan")


def peak_memory(run: Run) -> float:
    """Return the most memory in use before the first evaluation, in MiB; NaN if it was not logged."""
    memory, evaluations = run.series("peak_memory"), run.series("AP")
    before = memory[memory.index <= evaluations.index.min()] if len(evaluations) else memory
    return float(before.max()) if len(before) else float("nan")
