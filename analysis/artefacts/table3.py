"""Table 3: how the detectors trained with each loss stand perturbed images and attacks."""

from analysis.artefacts.artefact import Artefact, Missing, Published, Section, Table
from analysis.artefacts.table_cells import (
    in_each_setting,
    lead,
    less,
    mark_best,
    measured,
    missing_runs,
    published,
    published_lead,
)
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import LOSS_TITLES, Setting

TITLE = "Table 3: robustness"
CAPTION = (
    "AP50 in percent on perturbed test images, and for DeepFool the least perturbation that succeeds; the more, the "
    "more robust. Rows and columns are the other way round than in the paper. The last columns say by how much AP-loss "
    "is ahead of focal loss, here and in the paper, and how much these leads differ. The paper's numbers are those of "
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
    """Table 3 in each setting with RetinaNet that has a run of it."""
    return Artefact("table3", TITLE, CAPTION, in_each_setting(runs, _section, detectors=("retinanet",)))


def metric(perturbation: str) -> str:
    """The key under which a perturbation's number is logged."""
    return "minimal_perturbation" if perturbation == "deepfool" else "AP50"


def runs_of(setting: Setting, loss: str, perturbation: str) -> list[Run]:
    """The runs that tested a loss's detector on images so perturbed."""
    return setting.select(loss=loss, attack=None if perturbation == "original" else perturbation)


def _section(setting: Setting) -> Section:
    paper = published("table3").set_index("loss")
    at = {(p, loss): runs_of(setting, loss, p) for p in PERTURBATIONS for loss in LOSS_TITLES}
    rows = []
    for perturbation, name in PERTURBATIONS.items():
        key = metric(perturbation)
        ours = mark_best([measured(at[perturbation, loss], key) for loss in LOSS_TITLES])
        theirs = mark_best([Published(float(paper[perturbation][loss]), "Table 3") for loss in LOSS_TITLES])
        mine = lead(at[perturbation, "ap"], at[perturbation, "focal"], key)
        papers = published_lead(paper[perturbation]["ap"], paper[perturbation]["focal"], "Table 3")
        rows.append([name, *ours, *theirs, mine, papers, less(mine, papers)])
    columns = [("", "Test images"), *(("ours", name) for name in LOSS_TITLES.values())]
    columns += [("paper", name) for name in LOSS_TITLES.values()]
    columns += [("AP-loss before focal loss", name) for name in ("ours", "paper", "difference")]
    originals = {LOSS_TITLES[loss]: at["original", loss] for loss in LOSS_TITLES}
    missing = missing_runs(setting, "table3", originals)
    lacking = [name for p, name in PERTURBATIONS.items() if p != "original" and not any(at[p, x] for x in LOSS_TITLES)]
    if lacking:
        missing.append(Missing(", ".join(lacking), None))
    run_ids = [run.run_id for found in at.values() for run in found]
    table = Table("robustness", "By perturbation of the test images", columns, rows)
    return Section(setting.overrides, [table], [], missing, run_ids)
