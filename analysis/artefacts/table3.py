"""Table 3: how robust the detectors trained with each loss are to perturbed images and attacks."""

from analysis.artefacts.artefact import Artefact, Cell, Missing, Section, Table
from analysis.artefacts.table_cells import (
    difference_cells,
    missing_runs,
    ours_and_paper_cells,
    run_ids_of,
    sections_by_setting,
)
from analysis.paper.published import published_table
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import LOSS_TITLES, Setting

TITLE = "Table 3: robustness"
CAPTION = (
    "AP50 in percent on perturbed test images. For DeepFool, the smallest perturbation that succeeds: the larger, the "
    "more robust. Rows and columns are swapped with respect to the paper. The last columns give by how much AP-loss is "
    "ahead of focal loss, here and in the paper, and ours minus the paper's. The paper's numbers are those of "
    "RetinaNet on VOC2007 test."
)
PERTURBATIONS = {
    "original": "Original",
    "black_patch": "Black Patch",
    "random_patch": "Random Patch",
    "flip_patch": "Flip Patch",
    "adversarial_patch": "Adversarial Patch",
    "gaussian_noise": "Gaussian Noise",
    "deepfool": "DeepFool",
}


def build(runs: Runs) -> Artefact:
    """Build Table 3 for each setting with RetinaNet that has a run of it."""
    return Artefact("table3", TITLE, CAPTION, sections_by_setting(runs, _section, detectors=("retinanet",)))


def metric(perturbation: str) -> str:
    """Return the key under which a perturbation's number is logged."""
    return "minimal_perturbation" if perturbation == "deepfool" else "AP50"


def runs_of(setting: Setting, loss: str, perturbation: str) -> list[Run]:
    """Return the runs that tested a loss's detector on images perturbed in this way."""
    return setting.select(loss=loss, attack=None if perturbation == "original" else perturbation)


def _section(setting: Setting) -> Section:
    paper = published_table("table3").set_index("loss")
    groups = {p: {loss: runs_of(setting, loss, p) for loss in LOSS_TITLES} for p in PERTURBATIONS}
    rows: list[list[Cell]] = []
    for perturbation, name in PERTURBATIONS.items():
        key, runs, numbers = metric(perturbation), groups[perturbation], paper[perturbation]
        published = [numbers[loss] for loss in LOSS_TITLES]
        ours, papers = ours_and_paper_cells(runs.values(), key, paper=published, where="Table 3")
        pair = numbers["ap"], numbers["focal"]
        leads = difference_cells(runs["ap"], runs["focal"], key, paper=pair, where="Table 3")
        rows.append([name, *ours, *papers, *leads])
    columns = [("", "Test images"), *((group, name) for group in ("ours", "paper") for name in LOSS_TITLES.values())]
    columns += [("AP-loss before focal loss", name) for name in ("ours", "paper", "difference")]
    originals = {title: groups["original"][loss] for loss, title in LOSS_TITLES.items()}
    missing = missing_runs(setting, "table3", originals)
    untested = [name for p, name in PERTURBATIONS.items() if p != "original" and not any(groups[p].values())]
    if untested:
        missing.append(Missing(", ".join(untested), None))
    run_ids = run_ids_of(runs for by_loss in groups.values() for runs in by_loss.values())
    table = Table("robustness", "By perturbation of the test images", columns, rows)
    return Section(setting.overrides, [table], [], missing, run_ids)
