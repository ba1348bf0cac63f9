"""Fig. 5: detections on the same test images after training with focal loss and with AP-loss."""

from analysis.artefacts.artefact import Artefact, Section
from analysis.artefacts.galleries import classes_in, gallery_of, has_gallery, panel, threshold_note
from analysis.artefacts.table_cells import compares, missing_losses, run_ids_of, sections_by_setting
from analysis.reading.runs import Runs
from analysis.reading.settings import LOSS_TITLES, Setting

TITLE = "Fig. 5: detections with focal loss and AP-loss"
CAPTION = (
    "The same test images with focal loss (left) and AP-loss (right), of the lowest seed that both have. Coloured: "
    "detections with class and score. As scores of ranking losses are not calibrated, each run has its own score "
    "threshold, chosen on images that are not shown. Dashed: objects."
)
LOSSES = ("focal", "ap")
MOST_IMAGES = 4


def build(runs: Runs) -> Artefact:
    """Build pairs of panels for each setting that has a run of it."""
    return Artefact("figure5", TITLE, CAPTION, sections_by_setting(runs, _section))


def _section(setting: Setting) -> Section:
    groups = {loss: [run for run in setting.select(loss=loss) if has_gallery(run)] for loss in LOSSES}
    missing = missing_losses(setting, "figure5", groups)
    seeds = [{run.config["seed"]: run for run in runs} for runs in groups.values()]
    both = sorted(seeds[0].keys() & seeds[1].keys())
    shown = [by_seed[both[0]] for by_seed in seeds] if both else []
    galleries = [gallery_of(run) for run in shown]
    images = [name for name in galleries[0] if name in galleries[1]][:MOST_IMAGES] if galleries else []
    classes = classes_in([gallery[name] for gallery in galleries for name in images])
    panels = [
        panel(f"{loss}-{number}", f"{LOSS_TITLES[loss]}: {name}", gallery[name], classes)
        for number, name in enumerate(images)
        for loss, gallery in zip(LOSSES, galleries, strict=True)
    ]
    notes = [threshold_note(run) for run in shown]
    run_ids = run_ids_of(groups.values())
    return Section(setting.overrides, [], panels, missing, run_ids, notes, compares(groups.values()))
