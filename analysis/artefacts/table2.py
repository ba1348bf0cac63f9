"""Table 2: a detector trained with each loss, for each of three pairs of detector and data."""

from analysis.artefacts.artefact import Artefact, Section, Table
from analysis.artefacts.table_cells import (
    compares,
    missing_losses,
    ours_and_paper_columns,
    ours_and_paper_rows,
    run_ids_of,
)
from analysis.paper.published import published_table
from analysis.reading.runs import Runs
from analysis.reading.settings import DATA_TITLES, DETECTOR_TITLES, LOSS_TITLES, Setting, is_whole_training, settings

TITLE = "Table 2: training losses"
CAPTION = (
    "A detector trained with each loss. AP in percent on the test split of each setting's data. The last columns give "
    "by how much AP-loss is ahead of each other loss in AP, here and in the paper, and ours minus the paper's. These "
    "leads, not the AP itself, can be compared between settings."
)
# The paper's pairs of detector and data, and the overrides that make them.
PAPER_SETTINGS = {
    ("retinanet", "voc"): ("recipe=voc", "dataset.root=VOCdevkit"),
    ("retinanet", "coco"): ("recipe=coco", "dataset.root=coco"),
    ("ssd", "voc"): ("recipe=voc", "dataset.root=VOCdevkit", "model=ssd"),
}


def build(runs: Runs) -> Artefact:
    """Build Table 2 for each setting that has a run of it, and for those of the paper with or without runs."""
    whole_trainings = [run for run in runs.counting if is_whole_training(run)]
    existing = [(setting, _section(setting)) for setting in settings(whole_trainings)]
    existing = [(setting, section) for setting, section in existing if section.run_ids]
    sections = [section for _, section in existing]
    for (detector, data), words in PAPER_SETTINGS.items():
        if not any(setting.is_made_by(words) for setting, _ in existing):
            config = {"model.name": detector, "dataset.name": data}
            sections.append(_section(Setting(words, config)))
    return Artefact("table2", TITLE, CAPTION, sections)


def _section(setting: Setting) -> Section:
    detector, data = _paper_pair(setting)
    paper = published_table("table2").query("detector == @detector and data == @data").set_index("loss")
    groups = setting.by_loss()
    named = {LOSS_TITLES[loss]: runs for loss, runs in groups.items()}
    rows = ours_and_paper_rows(
        named, paper.rename(index=LOSS_TITLES), "Table 2", lambda title: (LOSS_TITLES["ap"], title)
    )
    title = f"{setting.detector_title} + {setting.data_title}"
    notes = [f"The paper's numbers are those of {DETECTOR_TITLES[detector]} + {DATA_TITLES[data]}."]
    notes = [] if setting.is_made_by(PAPER_SETTINGS[detector, data]) else notes
    missing = missing_losses(setting, "table2", groups)
    columns = ours_and_paper_columns("Training loss", "AP-loss is ahead by")
    tables = [Table("losses", title, columns, rows, notes)]
    run_ids = run_ids_of(groups.values())
    return Section(setting.overrides, tables, [], missing, run_ids, compares=compares(groups.values()))


def _paper_pair(setting: Setting) -> tuple[str, str]:
    """Return the detector and the data of the paper's column that a setting is compared with."""
    if setting.detector == "ssd":
        return "ssd", "voc"
    return "retinanet", "coco" if setting.data == "coco" else "voc"
