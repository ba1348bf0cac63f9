"""What Tables 4 to 6 have in common: a detector trained with each loss beside the published detectors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.artefacts.artefact import Artefact, Cell, Section, Table
from analysis.artefacts.table_cells import compares, mark_best, measured, missing_losses, published, run_ids_of
from analysis.paper.published import published_table
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import Setting, is_whole_training, settings

ONE_STAGE, MULTI_SCALE = "one-stage", "multi-scale"  # groups of the paper's rows
BACKBONES = {"efficientnet_lite0": "EfficientNet-Lite0", "mobilenet_v3_large": "MobileNetV3-Large"}


@dataclass(frozen=True)
class Benchmark:
    """One of the tables."""

    name: str  # "table4", also that of its sweep and of the paper's numbers
    title: str
    caption: str
    words: tuple[str, ...]  # command-line overrides of its runs in the paper's setting
    data: str  # the name of its data set
    metrics: Callable[[list[Run]], Mapping[str, str]]  # the keys of the log that a setting has, by the paper's columns
    includes: Callable[[Setting], bool] = lambda setting: True  # whether it shows a setting
    note: str = ""  # on the paper's setting


def build_benchmark(benchmark: Benchmark, runs: Runs) -> Artefact:
    """Build a table for each setting that has a run of it, and for the paper's with or without runs.

    The published numbers stand in those of the paper's data set alone: on others they compare with nothing.
    """
    whole_trainings = filter(is_whole_training, runs.counting)
    known = [setting for setting in settings(whole_trainings) if benchmark.includes(setting)]
    of_paper = {setting.overrides for setting in known if _is_of_paper(benchmark, setting)}
    sections = [_section(benchmark, setting) for setting in known]
    sections = [section for section in sections if section.run_ids]
    if not any(section.setting in of_paper for section in sections):
        config = {"dataset.name": benchmark.data, "model.backbone": "resnet101"}
        sections.append(_section(benchmark, Setting(benchmark.words, config)))
    return Artefact(benchmark.name, benchmark.title, benchmark.caption, sections)


def _section(benchmark: Benchmark, setting: Setting) -> Section:
    groups = setting.by_loss()
    of_paper = setting.data == benchmark.data
    paper = published_table(benchmark.name) if of_paper else pd.DataFrame()
    found = benchmark.metrics([run for runs in groups.values() for run in runs])
    metrics = {column: found.get(column, column) for column in paper.columns[3:]} if of_paper else dict(found)
    columns: list[list[Cell]] = []
    for column, metric in metrics.items():
        ours = mark_best([measured(runs, metric) for runs in groups.values()])
        columns.append([*ours, *_published(paper, column, benchmark.title.partition(":")[0])])
    names: list[list[Cell]] = [
        [f"ours, {loss}", kind_of(setting), _backbone(setting)] for loss in setting.losses.values()
    ]
    names += _names(paper)
    rows = [[*name, *(column[number] for column in columns)] for number, name in enumerate(names)]
    headings = [("", name) for name in ("Method", "Kind", "Backbone", *metrics)]
    title = f"Tested on {setting.config.get('dataset.test', 'the paper’s test split')} of {setting.data_title}"
    table = Table("detectors", title, headings, rows, [benchmark.note] if of_paper and benchmark.note else [])
    missing = missing_losses(setting, benchmark.name, groups)
    run_ids = run_ids_of(groups.values())
    return Section(setting.overrides, [table], [], missing, run_ids, compares=of_paper or compares(groups.values()))


def _is_of_paper(benchmark: Benchmark, setting: Setting) -> bool:
    size, backbone = setting.config.get("dataset.train_size", 0), setting.config.get("model.backbone")
    return setting.data == benchmark.data and backbone == "resnet101" and size >= 512


def kind_of(setting: Setting) -> str:
    """Return the group of the paper's rows that a setting belongs to: MULTI_SCALE, or ONE_STAGE for a single scale."""
    several = setting.config.get("test.scales") is not None or setting.config.get("test.mirror")
    return MULTI_SCALE if several else ONE_STAGE


def _backbone(setting: Setting) -> str:
    """Return the backbone's name; a dash for a detector of a user's own that has no choice of backbones."""
    backbone = "VGG-16" if setting.detector == "ssd" else str(setting.config.get("model.backbone", "–"))
    return BACKBONES.get(backbone) or backbone.replace("resnet", "ResNet-").replace("_half", ", half")


def _names(paper: pd.DataFrame) -> list[list[Cell]]:
    """Return method, kind and backbone of each row of the paper; + marks multi-scale testing, as in the paper."""
    return [
        [f"{row.method}{'+' * (row.group == MULTI_SCALE)}", row.group, row.backbone]
        for row in paper.itertuples(index=False)
    ]


def _published(paper: pd.DataFrame, column: str, where: str) -> list[Cell]:
    """Return one of the paper's columns, with the best number of each kind marked."""
    cells: list[Cell] = []
    if len(paper):
        for _, values in paper.groupby("group", sort=False)[column]:
            cells += mark_best([published(value, where) for value in values])
    return cells
