"""Table 2: one detector trained with each loss, in each of three detector–data settings."""

from analysis.artefacts.artefact import Artefact, Missing, Published, Section, Table
from analysis.artefacts.table_cells import (
    METRICS,
    lead,
    less,
    mark_best,
    measured,
    missing_runs,
    published,
    published_lead,
)
from analysis.reading.runs import Runs
from analysis.reading.settings import LOSS_TITLES, Setting, settings

TITLE = "Table 2: training losses"
CAPTION = (
    "A detector trained with each loss. AP in percent on the test split of each setting's data. The last columns say "
    "by how much AP-loss is ahead of each other loss in AP, here and in the paper, and how much these leads differ; "
    "that, not the AP itself, is what compares from one setting to another."
)
# The paper's settings, and the overrides by which they are made here; None where the code is not here yet.
PAPERS = {
    ("retinanet", "voc"): ("recipe=voc", "dataset.root=VOCdevkit"),
    ("retinanet", "coco"): ("recipe=coco", "dataset.root=coco"),
    ("ssd", "voc"): None,
}
NAMES = {"retinanet": "RetinaNet", "ssd": "SSD", "voc": "PASCAL VOC", "coco": "COCO"}


def build(runs: Runs) -> Artefact:
    """Table 2 in each setting that has a run of it, and in those of the paper, be they there or not."""
    known = settings(runs.counting)
    sections = [section for section in map(_section, known) if section.run_ids]
    for (detector, data), overrides in PAPERS.items():
        if not any(s.detector == detector and s.data == data and section_has(sections, s) for s in known):
            empty = Setting(overrides or (f"model={detector}",), {"model.name": detector, "dataset.name": data})
            sections.append(_section(empty))
    return Artefact("table2", TITLE, CAPTION, sections)


def section_has(sections: list[Section], setting: Setting) -> bool:
    """Whether one of the sections is about this setting."""
    return any(section.setting == setting.overrides for section in sections)


def papers_setting(setting: Setting) -> tuple[str, str]:
    """The detector and the data of the paper's column that a setting is compared with."""
    return setting.detector, "coco" if (setting.data, setting.detector) == ("coco", "retinanet") else "voc"


def _section(setting: Setting) -> Section:
    detector, data = papers_setting(setting)
    paper = published("table2").query("detector == @detector and data == @data").set_index("loss")
    at = {loss: setting.select(loss=loss) for loss in LOSS_TITLES}
    ours = {m: mark_best([measured(at[loss], m) for loss in LOSS_TITLES]) for m in METRICS}
    theirs = {m: mark_best([Published(float(paper[m][loss]), "Table 2") for loss in LOSS_TITLES]) for m in METRICS}
    rows = []
    for place, loss in enumerate(LOSS_TITLES):
        row = [LOSS_TITLES[loss], *(ours[m][place] for m in METRICS), *(theirs[m][place] for m in METRICS)]
        if loss == "ap":
            row += ["–"] * 3
        else:
            mine = lead(at["ap"], at[loss], "AP")
            papers = published_lead(paper["AP"]["ap"], paper["AP"][loss], "Table 2")
            row += [mine, papers, less(mine, papers)]
        rows.append(row)
    columns = [("", "Training loss"), *(("ours", m) for m in METRICS), *(("paper", m) for m in METRICS)]
    columns += [("AP-loss is ahead by", name) for name in ("ours", "paper", "difference")]
    name = f"{NAMES[detector]} + {NAMES[data]}"
    notes = [] if setting.data == data else [f"The paper's numbers are those of {name}."]
    title = name if setting.data == data else f"{NAMES[detector]} + {setting.data}"
    missing = missing_runs(setting, "table2", {LOSS_TITLES[loss]: found for loss, found in at.items()})
    if (detector, setting.data) in PAPERS and PAPERS[detector, setting.data] is None and not any(at.values()):
        missing = [Missing(name, None)]
    run_ids = [run.run_id for found in at.values() for run in found]
    return Section(setting.overrides, [Table("losses", title, columns, rows, notes)], [], missing, run_ids)
