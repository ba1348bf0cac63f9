"""Fig. 9: the memory that training takes with each loss, by batch size."""

from analysis.artefacts.artefact import Artefact
from analysis.artefacts.losses_by_batch_size import Quantity, losses_by_batch_size
from analysis.artefacts.table_cells import sections_by_setting
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import LOSS_TITLES

TITLE = "Fig. 9: memory by batch size"
CAPTION = (
    "Peak memory of training before its first evaluation: on a GPU the memory of tensors, on a CPU the resident memory "
    "of the whole process, with Python and the libraries. A loss's own cost is its distance from the detector without "
    "a loss."
)


def build(runs: Runs) -> Artefact:
    """Build a panel for each setting that has a run of it."""
    quantity = Quantity("memory", "memory (GiB)", "GiB", 2, lambda run: peak_memory(run) / 1024)
    titles = {"none": "no loss", **LOSS_TITLES}
    sections = sections_by_setting(runs, lambda setting: losses_by_batch_size(setting, "figure9", quantity, titles))
    return Artefact("figure9", TITLE, CAPTION, sections)


def peak_memory(run: Run) -> float:
    """Return the most memory in use before the first evaluation, in MiB; NaN if it was not logged."""
    memory, evaluations = run.series("peak_memory"), run.series("AP")
    before = memory[memory.index <= evaluations.index.min()] if len(evaluations) else memory
    return float(before.max()) if len(before) else float("nan")
