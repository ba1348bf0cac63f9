"""Table 6: the detector beside published ones on COCO test-dev, by size of the objects."""

from analysis.artefacts.artefact import Artefact
from analysis.artefacts.benchmark_tables import Benchmark, build_benchmark
from analysis.reading.runs import Runs

COLUMNS = (
    *("AP", "AP50", "AP75", "APsmall", "APmedium", "APlarge"),
    *("AR1", "AR10", "AR100", "ARsmall", "ARmedium", "ARlarge"),
)
CAPTION = (
    "COCO's twelve metrics in percent: AP over all IoU thresholds, at 0.5 and at 0.75, and of objects by size; AR with "
    "1, 10 and 100 detections per image, and by size. Of ours each loss has a row, for each setting. The paper's rows "
    "are RetinaNet with ResNet-101 and AP-loss, tested with a shorter side of 500 and of 800, and detectors of others; "
    "they stand only beside runs on COCO."
)
NOTE = (
    "The annotations of test-dev are the server's alone: python -m src.submit RUN dataset.test=test-dev2017 writes the "
    "file for it. Ours are tested on val2017."
)
TABLE_6 = Benchmark(
    name="table6",
    title="Table 6: detection on COCO test-dev",
    caption=CAPTION,
    words=(
        "recipe=coco",
        "dataset.root=coco",
        "model.backbone=resnet101",
        "dataset.test_shorter_side=500",
        "dataset.test_longer_side=833",
    ),
    data="coco",
    metrics=lambda runs: {name: name for name in COLUMNS},
    note=NOTE,
)


def build(runs: Runs) -> Artefact:
    """Build Table 6 for each setting that has a run of it, and for the paper's."""
    return build_benchmark(TABLE_6, runs)
