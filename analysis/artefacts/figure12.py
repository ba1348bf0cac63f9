"""Fig. 12: detections on test images after training with AP-loss."""

from analysis.artefacts.artefact import Artefact, Section
from analysis.artefacts.galleries import classes_in, gallery_of, has_gallery, panel, threshold_note
from analysis.artefacts.table_cells import missing_losses, run_ids_of, sections_by_setting
from analysis.reading.runs import Runs
from analysis.reading.settings import Setting

TITLE = "Fig. 12: detections with AP-loss"
CAPTION = (
    "Test images of the lowest seed. Coloured: detections with class and score, above a threshold that is chosen on "
    "images that are not shown. Dashed: objects. The paper's are of RetinaNet with ResNet-101 at 500 pixels, on COCO."
)
MOST_IMAGES = 6


def build(runs: Runs) -> Artefact:
    """Build a panel for each image, for each setting that has a run of it."""
    return Artefact("figure12", TITLE, CAPTION, sections_by_setting(runs, _section))


def _section(setting: Setting) -> Section:
    runs = [run for run in setting.select(loss="ap") if has_gallery(run)]
    gallery = gallery_of(runs[0]) if runs else {}
    classes = classes_in(list(gallery.values()))
    names = list(gallery)[:MOST_IMAGES]
    panels = [panel(f"ap-{number}", name, gallery[name], classes) for number, name in enumerate(names)]
    missing = missing_losses(setting, "figure12", {"ap": runs})
    return Section(setting.overrides, [], panels, missing, run_ids_of([runs]), [threshold_note(r) for r in runs[:1]])
