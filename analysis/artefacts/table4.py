"""Table 4: the detector beside published ones on VOC2007 test, by class."""

from functools import partial

from analysis.artefacts.artefact import Artefact
from analysis.artefacts.benchmark_tables import Benchmark, build_benchmark
from analysis.artefacts.table_cells import logged_by_class
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import Setting

MOST_CLASSES = 25  # COCO's eighty make no table
CAPTION = (
    "AP at IoU 0.5 in percent, as VOC2007 counts it (the mean over eleven recalls), of all classes and of each. Ours "
    "has a row for each loss, in each setting. The paper's rows are RetinaNet with ResNet-101 and AP-loss, tested with "
    "a shorter side of 500, and detectors of others; they stand only beside runs on PASCAL VOC."
)


def metrics_by_class(key: str, runs: list[Run]) -> dict[str, str]:
    """Return the keys under which runs log this AP, by column: that of all classes, and of each class."""
    return {"AP50": key} | {name: f"{key}/{name}" for name in logged_by_class(runs, key)}


def is_on_voc(year: str, setting: Setting) -> bool:
    """Return whether a setting is tested on VOC's images of a year, or on other data with few classes."""
    if setting.data == "voc":
        return year in setting.config["dataset.test"]
    return len(logged_by_class(setting.runs, "VOC07_AP50")) <= MOST_CLASSES


TABLE_4 = Benchmark(
    name="table4",
    title="Table 4: detection on VOC2007 test",
    caption=CAPTION,
    words=(
        "recipe=voc",
        "dataset.root=VOCdevkit",
        "model.backbone=resnet101",
        "dataset.test_shorter_side=500",
        "dataset.test_longer_side=833",
    ),
    data="voc",
    metrics=partial(metrics_by_class, "VOC07_AP50"),
    includes=partial(is_on_voc, "2007"),
)


def build(runs: Runs) -> Artefact:
    """Build Table 4 for each setting that has a run of it, and for the paper's."""
    return build_benchmark(TABLE_4, runs)
