"""Table 5: the detector beside published ones on VOC2012 test, by class."""

from functools import partial

from analysis.artefacts.artefact import Artefact
from analysis.artefacts.benchmark_tables import Benchmark, build_benchmark
from analysis.artefacts.table4 import TABLE_4, is_on_voc, metrics_by_class
from analysis.reading.runs import Runs

CAPTION = (
    "AP at IoU 0.5 in percent, as VOC2012 counts it (the area under the precision-recall curve), of all classes and of "
    "each. Rows as in Table 4."
)
NOTE = (
    "The annotations of VOC2012 test are the server's alone: python -m src.submit RUN dataset.test=2012_test writes "
    "the file for it. Ours are tested on VOC2012 val, and trained on 2007 trainval and test, and 2012 train."
)
TABLE_5 = Benchmark(
    name="table5",
    title="Table 5: detection on VOC2012 test",
    caption=CAPTION,
    words=(*TABLE_4.words, "dataset.train=2007_trainval+2007_test+2012_train", "dataset.test=2012_val"),
    data="voc",
    metrics=partial(metrics_by_class, "VOC12_AP50"),
    includes=partial(is_on_voc, "2012"),
    note=NOTE,
)


def build(runs: Runs) -> Artefact:
    """Build Table 5 for each setting that has a run of it, and for the paper's."""
    return build_benchmark(TABLE_5, runs)
