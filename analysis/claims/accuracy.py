"""What the paper claims of detection accuracy: Tables 1 to 3, Figs. 6 and 7."""

import numpy as np

from analysis.artefacts.artefact import CONTRADICTED, SUPPORTED, UNDECIDED, Verdict
from analysis.artefacts.curves import listed
from analysis.artefacts.figure7 import HIGH_SCORE, NEGATIVE_IOU, counts_of
from analysis.artefacts.statistics import difference
from analysis.artefacts.table3 import PERTURBATIONS, metric, runs_of
from analysis.artefacts.table_cells import by_seed, published
from analysis.claims.rules import LEVEL, Group, Statement, compare, kinds
from analysis.reading.runs import Run
from analysis.reading.settings import LOSS_TITLES, Setting

ACCEPTABLE = 2.0  # points of AP that batch size 1 may cost; 0.7 in the paper
MUCH = 2.0  # points of AP by which AUC-loss has to be behind; 3.8 and more in the paper
ALIKE = 1.0  # points of AP50 by which focal loss may be ahead of OHEM and still not be better
SSD = "SSD"


def _losses(setting: Setting) -> dict[str, Group]:
    return {loss: (title, setting.select(loss=loss)) for loss, title in LOSS_TITLES.items()}


def _batch(setting: Setting) -> dict[int, Group]:
    return {size: (f"batch size {size}", setting.select(batch_size=size)) for size in (1, 2, 4, 8)}


def _delta(setting: Setting) -> dict[float, Group]:
    return {delta: (f"δ = {delta:g}", setting.select(delta=delta)) for delta in (0.25, 0.5, 1.0, 2.0, 4.0)}


def _best_batch(setting: Setting) -> Verdict | None:
    at = _batch(setting)
    return compare(setting, "AP", "AP", at[8], [at[1], at[2], at[4]])


def _batch_1(setting: Setting) -> Verdict | None:
    at = _batch(setting)
    return compare(setting, "AP", "AP", at[1], [at[8]], allowance=ACCEPTABLE)


def _best_delta(setting: Setting) -> Verdict | None:
    at = _delta(setting)
    return compare(setting, "AP", "AP", at[1], [group for delta, group in at.items() if delta != 1])


def _worse_delta(delta: float):
    def judge(setting: Setting) -> Verdict | None:
        at = _delta(setting)
        return compare(setting, "AP", "AP", at[1], [at[delta]])

    return judge


def _interpolation(setting: Setting) -> Verdict | None:
    with_it, without = (
        (name, setting.select(interpolated=yes)) for name, yes in (("interpolation", True), ("no interpolation", False))
    )
    return compare(setting, "AP", "AP", with_it, [without])


def _of(detector: str, data: str | None, judge):
    """Judges in settings with this detector and these data, None being any, alone."""
    return lambda setting: judge(setting) if setting.detector == detector and data in (None, setting.data) else None


def _first(setting: Setting) -> Verdict | None:
    at = _losses(setting)
    return compare(setting, "AP", "AP", at["ap"], [group for loss, group in at.items() if loss != "ap"])


def _pair(a: str, b: str, metric: str = "AP", allowance: float = 0.0):
    def judge(setting: Setting) -> Verdict | None:
        at = _losses(setting)
        return compare(setting, metric, metric, at[a], [at[b]], allowance=allowance)

    return judge


def _at_every_snapshot(setting: Setting) -> Verdict | None:
    """Of each evaluation and each other loss the test of `compare`: all have to say so, or one the opposite."""
    at = {loss: runs for loss, (_, runs) in _losses(setting).items()}
    steps = sorted({int(step) for run in at["ap"] for step in run.series("AP").index})
    others = [loss for loss in at if loss != "ap"]
    if len(steps) < 2 or not any(at[loss] for loss in others):
        return None
    tests, lowest = [], []
    for step in steps:
        values = {loss: by_seed(runs, lambda run, step=step: _at_step(run, step)) for loss, runs in at.items()}
        for loss in others:
            test = difference(values["ap"], values[loss])
            tests.append(test)
            lowest.append((test.mean, step, LOSS_TITLES[loss]))
    supported = all(test.p_greater < LEVEL for test in tests)
    contradicted = any(test.p_less < LEVEL / len(tests) for test in tests)
    behind = sum(mean < 0 for mean, *_ in lowest)
    least = min((entry for entry in lowest if entry[0] == entry[0]), default=None)
    numbers = f"Ahead in {len([m for m, *_ in lowest if m > 0])} and behind in {behind} of {len(tests)} comparisons"
    numbers += f"; the least lead is {least[0]:+.1f} AP, before {least[2]} at step {least[1]}." if least else "."
    test = f"At each of {len(steps)} evaluations against {len(others)} losses. "
    ps = [test.p_greater for test in tests if test.p_greater == test.p_greater]
    test += f"{kinds(tests)}, one-sided: the largest p is {max(ps):.3f}." if ps else "One seed decides nothing."
    run_ids = [run.run_id for runs in at.values() for run in runs]
    outcome = SUPPORTED if supported else CONTRADICTED if contradicted else UNDECIDED
    return Verdict(setting.overrides, outcome, numbers, test, run_ids)


def _at_step(run: Run, step: int) -> float:
    values = run.series("AP")
    return float(values.get(step, float("nan")))


def high_negatives(run: Run) -> float:
    """How many of a million negative anchors score high; NaN without counts."""
    counts = counts_of(run)
    if counts is None:
        return float("nan")
    edges = np.arange(len(counts)) / len(counts)
    negatives = counts[edges < NEGATIVE_IOU]
    return 1e6 * float(negatives[:, edges >= HIGH_SCORE].sum() / max(negatives.sum(), 1))


def score_of_positives(run: Run) -> float:
    """The mean score of the anchors with an IoU of 0.5 and more; NaN without counts."""
    counts = counts_of(run)
    if counts is None:
        return float("nan")
    edges = np.arange(len(counts)) / len(counts)
    positives = counts[edges >= 0.5].sum(axis=0)
    return float((positives * (edges + 0.5 / len(counts))).sum() / max(positives.sum(), 1))


def _fewest_high_negatives(setting: Setting) -> Verdict | None:
    at = _losses(setting)
    others = [group for loss, group in at.items() if loss != "ap"]
    what = f"Of a million negatives score {HIGH_SCORE} and more:"
    return compare(setting, what, high_negatives, at["ap"], others, least=True, digits=0)


def _most_confident(setting: Setting) -> Verdict | None:
    at = _losses(setting)
    others = [group for loss, group in at.items() if loss != "ohem"]
    what = "Mean score of anchors with IoU 0.5 and more:"
    return compare(setting, what, score_of_positives, at["ohem"], others, digits=2)


def _robust(perturbation: str):
    def judge(setting: Setting) -> Verdict | None:
        at = {loss: (title, runs_of(setting, loss, perturbation)) for loss, title in LOSS_TITLES.items()}
        others = [group for loss, group in at.items() if loss != "ap"]
        key = metric(perturbation)
        return compare(setting, "AP50" if key == "AP50" else "Least perturbation", key, at["ap"], others)

    return judge


def _statement_of_table_2(detector: str, data: str, title: str) -> Statement:
    paper = published("table2").query("detector == @detector and data == @data").set_index("loss")["AP"]
    leads = listed(f"{paper['ap'] - paper[loss]:.1f} AP before {LOSS_TITLES[loss]}" for loss in LOSS_TITLES if loss != "ap")
    return Statement(
        f"first-{detector}-{data}",
        f"AP-loss is ahead of all other losses with {title}, by {leads}.",
        "Section 4.2.2, Table 2",
        "table2",
        _of(detector, data, _first),
        overrides=f"recipe={data} dataset.root={'VOCdevkit' if data == 'voc' else data}",
        lacking=SSD if detector == "ssd" else "",
    )


VOC, COCO = "recipe=voc dataset.root=VOCdevkit", "recipe=coco dataset.root=coco"
ABLATION, LOSS = "Section 4.2.1, Table 1", "Section 4.2.2, Table 2"
ACCURACY = [
    Statement("batch-8-is-best", "Batch size 8 outperforms all smaller ones.", ABLATION, "table1", _best_batch),
    Statement(
        "batch-1-is-acceptable",
        f"Batch size 1 is still acceptable: it costs less than {ACCEPTABLE:g} AP.",
        ABLATION,
        "table1",
        _batch_1,
    ),
    Statement("delta-1-is-best", "δ = 1 is the best of the five.", ABLATION, "table1", _best_delta),
    Statement(
        "small-delta-is-worse",
        "A sharp step, δ = 0.25, is worse than δ = 1.",
        ABLATION,
        "table1",
        _worse_delta(0.25),
    ),
    Statement(
        "large-delta-is-worse",
        "A wide step, δ = 4, is worse than δ = 1.",
        ABLATION,
        "table1",
        _worse_delta(4.0),
    ),
    Statement("interpolation-helps", "Interpolated AP is marginally better.", ABLATION, "table1", _interpolation),
    Statement(
        "first-retinanet",
        "AP-loss is ahead of all other losses with RetinaNet, whatever the data.",
        LOSS,
        "table2",
        _of("retinanet", None, _first),
    ),
    _statement_of_table_2("retinanet", "voc", "RetinaNet on PASCAL VOC"),
    _statement_of_table_2("retinanet", "coco", "RetinaNet on COCO"),
    _statement_of_table_2("ssd", "voc", "SSD on PASCAL VOC"),
    Statement(
        "auc-is-much-worse",
        f"AUC-loss is much worse than AP-loss, by more than {MUCH:g} AP.",
        LOSS,
        "table2",
        _pair("ap", "auc", allowance=-MUCH),
    ),
    Statement(
        "focal-before-ohem-on-coco",
        "Focal loss is ahead of OHEM on COCO.",
        LOSS,
        "table2",
        _of("retinanet", "coco", _pair("focal", "ohem")),
        COCO,
    ),
    Statement(
        "focal-not-before-ohem-on-voc",
        f"On PASCAL VOC focal loss is no better than OHEM in AP50: by less than {ALIKE:g} ahead.",
        LOSS,
        "table2",
        _of("retinanet", "voc", _pair("ohem", "focal", "AP50", ALIKE)),
        VOC,
    ),
    Statement(
        "focal-behind-ohem-on-ssd",
        "Focal loss is behind OHEM on SSD.",
        LOSS,
        "table2",
        _of("ssd", None, _pair("ohem", "focal")),
        lacking=SSD,
    ),
    Statement(
        "ahead-at-every-snapshot",
        "AP-loss is ahead of all other losses at every snapshot of RetinaNet's training.",
        "Section 4.2.2, Fig. 6a",
        "figure6",
        _of("retinanet", None, _at_every_snapshot),
    ),
    Statement(
        "ahead-at-every-snapshot-ssd",
        "AP-loss is ahead of all other losses at every snapshot of SSD's training.",
        "Section 4.2.2, Fig. 6b",
        "figure6",
        _of("ssd", None, _at_every_snapshot),
        lacking=SSD,
    ),
    Statement(
        "fewest-high-negatives",
        "With AP-loss the fewest negative anchors score high.",
        "Section 4.2.2, Fig. 7",
        "figure7",
        _fewest_high_negatives,
    ),
    Statement(
        "ohem-is-most-confident",
        "OHEM gives positive anchors the highest scores.",
        "Section 4.2.2, Fig. 7",
        "figure7",
        _most_confident,
    ),
    *(
        Statement(
            f"first-on-{perturbation.replace('_', '-')}",
            f"AP-loss is ahead of all other losses: {title}.",
            "Section 4.2.2, Table 3",
            "table3",
            _robust(perturbation),
            lacking="perturbing images",
        )
        for perturbation, title in PERTURBATIONS.items()
        if perturbation != "original"
    ),
]
