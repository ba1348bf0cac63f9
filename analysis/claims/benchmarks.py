"""What the paper claims about its detector among published ones: Section 4.4, Tables 4 to 6."""

from collections.abc import Callable

from analysis.artefacts.benchmark_tables import MULTI_SCALE, ONE_STAGE, Benchmark, kind_of
from analysis.artefacts.table4 import TABLE_4
from analysis.artefacts.table5 import TABLE_5
from analysis.artefacts.table6 import TABLE_6
from analysis.claims.rules import Bound, Statement, against_bound, compare_losses, selected
from analysis.reading.settings import LOSS_TITLES, Setting

AP_LOSS = selected(LOSS_TITLES["ap"], loss="ap")
SCALES = "test.scales=[400,500,600,700,800]"  # the paper does not name its own
AT_800 = ("dataset.train_size=800", "dataset.test_shorter_side=800", "dataset.test_longer_side=1333")


def _is_of(benchmark: Benchmark, kind: str, train_size: int) -> Callable[[Setting], bool]:
    """Return the condition that a setting is the paper's of one of the tables, tested at one scale or several."""

    def condition(setting: Setting) -> bool:
        size, backbone = setting.config.get("dataset.train_size"), setting.config.get("model.backbone")
        return benchmark.includes(setting) and (size, backbone, kind_of(setting)) == (train_size, "resnet101", kind)

    return condition


def _first(name: str, benchmark: Benchmark, metric: str, text: str) -> Statement:
    """Return the claim that AP-loss is ahead of all other losses with ResNet-101."""
    return Statement(
        name=f"first-resnet101-{name}",
        text=text,
        where=f"Section 4.4.{2 if benchmark.data == 'coco' else 1}",
        artefact=benchmark.name,
        verdict=compare_losses(what=metric.replace("_", " "), metric=metric),
        detector="retinanet",
        data=benchmark.data,
        words=benchmark.words,
        condition=_is_of(benchmark, ONE_STAGE, 512),
    )


def _before(
    name: str, benchmark: Benchmark, text: str, *, metric: str, bound: float, kind: str = ONE_STAGE, size: int = 512
) -> Statement:
    """Return the claim that the paper's detector surpasses a published one."""
    split = benchmark.title.partition(" on ")[2]
    words = (*benchmark.words, *([SCALES] if kind == MULTI_SCALE else []), *(AT_800 if size == 800 else []))
    return Statement(
        name=f"before-{name}",
        text=text,
        where=f"Section 4.4.{2 if benchmark.data == 'coco' else 1}, {benchmark.title.partition(':')[0]}",
        artefact=benchmark.name,
        verdict=against_bound(
            f"{metric.replace('_', ' ')} on our test split, for the paper's {split},",
            bound,
            lambda setting: [Bound(AP_LOSS, metric)],
            digits=1,
        ),
        detector="retinanet",
        data=benchmark.data,
        words=words,
        condition=_is_of(benchmark, kind, size),
    )


BENCHMARKS = [
    _first(
        "voc2007",
        TABLE_4,
        "VOC07_AP50",
        "With ResNet-101 on VOC2007, AP-loss is ahead of all other losses: of Focal loss, the closest, by 0.9 AP50.",
    ),
    _first(
        "voc2012",
        TABLE_5,
        "VOC12_AP50",
        "With ResNet-101 on VOC2012, AP-loss is ahead of all other losses: of Focal loss, the closest, by 0.8 AP50.",
    ),
    _first(
        "coco",
        TABLE_6,
        "AP",
        "With ResNet-101 on COCO, AP-loss is ahead of all other losses: of CE-loss + OHEM, the closest, by 1.0 AP.",
    ),
    _before(
        "one-stage-voc2007",
        TABLE_4,
        "On VOC2007, RetinaNet with AP-loss surpasses all other one-stage detectors: PFPNet-R512 has an AP50 of 82.3.",
        metric="VOC07_AP50",
        bound=82.3,
    ),
    _before(
        "multi-scale-voc2007",
        TABLE_4,
        "On VOC2007 with multi-scale testing, it surpasses all others: PFPNet-R512 has an AP50 of 84.1.",
        metric="VOC07_AP50",
        bound=84.1,
        kind=MULTI_SCALE,
    ),
    _before(
        "one-stage-voc2012",
        TABLE_5,
        "On VOC2012, RetinaNet with AP-loss surpasses all other one-stage detectors: PFPNet-R512 has an AP50 of 80.3.",
        metric="VOC12_AP50",
        bound=80.3,
    ),
    _before(
        "multi-scale-voc2012",
        TABLE_5,
        "On VOC2012 with multi-scale testing, it surpasses all others: PFPNet-R512 has an AP50 of 83.7.",
        metric="VOC12_AP50",
        bound=83.7,
        kind=MULTI_SCALE,
    ),
    _before(
        "one-stage-coco",
        TABLE_6,
        "On COCO at 500 pixels, RetinaNet with AP-loss surpasses RefineDet512 with ResNet-101 (AP 36.4) and the same "
        "RetinaNet with focal loss (34.4).",
        metric="AP",
        bound=36.4,
    ),
    _before(
        "one-stage-coco-800",
        TABLE_6,
        "On COCO at 800 pixels, RetinaNet with AP-loss surpasses DR-loss (AP 40.6) and focal loss (39.1).",
        metric="AP",
        bound=40.6,
        size=800,
    ),
    _before(
        "multi-scale-coco",
        TABLE_6,
        "On COCO with multi-scale testing, it surpasses RefineDet512 with ResNet-101: AP 41.8.",
        metric="AP",
        bound=41.8,
        kind=MULTI_SCALE,
    ),
]
