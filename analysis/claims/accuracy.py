"""What the paper claims about detection accuracy: Tables 1 to 3, Figs. 6 and 7."""

import math
from functools import partial

from analysis.artefacts.artefact import Verdict
from analysis.artefacts.figure7 import HIGH_SCORE, POSITIVE_IOU, high_negatives, positive_score
from analysis.artefacts.number_format import signed
from analysis.artefacts.statistics import Difference, difference
from analysis.artefacts.table3 import PERTURBATIONS, metric, runs_of
from analysis.artefacts.table_cells import by_seed, run_ids_of
from analysis.claims.rules import LEVEL, RunGroup, Statement, compare, compare_losses, decide, kinds_of, selected
from analysis.paper.published import published_table
from analysis.reading.runs import Run
from analysis.reading.settings import LOSS_TITLES, PAPER_LOSSES, Setting

ACCEPTABLE = 2.0  # points of AP that batch size 1 may cost; 0.7 in the paper
MUCH = 2.0  # points of AP by which AUC-loss has to be behind; 3.8 and more in the paper
ALIKE = 1.0  # points of AP50 by which focal loss may be ahead of OHEM and still not be better
VOC, COCO = ("recipe=voc", "dataset.root=VOCdevkit"), ("recipe=coco", "dataset.root=coco")
SSD, SSD_VOC = ("recipe=mini", "model=ssd"), ("recipe=voc", "dataset.root=VOCdevkit", "model=ssd")
BATCH_SIZE = {size: selected(f"batch size {size}", batch_size=size) for size in (1, 2, 4, 8)}
DELTA = {delta: selected(f"δ = {delta:g}", delta=delta) for delta in (0.25, 0.5, 1.0, 2.0, 4.0)}
INTERPOLATED = selected("interpolation", interpolated=True)
NOT_INTERPOLATED = selected("no interpolation", interpolated=False)
compare_ap = partial(compare, what="AP", metric="AP")
compare_ap_of_losses = partial(compare_losses, what="AP", metric="AP")
AP_LOSS_LEADS = compare_ap_of_losses(first="ap")
table_1 = partial(Statement, where="Section 4.2.1, Table 1", artefact="table1", detector="retinanet")
table_2 = partial(Statement, where="Section 4.2.2, Table 2", artefact="table2")
figure_7 = partial(Statement, where="Section 4.2.2, Fig. 7", artefact="figure7")


def ahead_at_every_snapshot(setting: Setting) -> Verdict | None:
    """Apply the test of `compare` to AP at each evaluation against each other loss.

    All have to show AP-loss ahead; it is contradicted if one, by Bonferroni over all, shows the opposite.
    """
    runs = {loss: setting.select(loss=loss) for loss in PAPER_LOSSES}
    steps = sorted({int(step) for run in runs["ap"] for step in run.series("AP").index})
    others = [loss for loss in PAPER_LOSSES if loss != "ap"]
    if len(steps) < 2 or not any(runs[loss] for loss in others):
        return None
    tests = {(step, loss): _difference_at(step, runs["ap"], runs[loss]) for step in steps for loss in others}
    supported = all(test.p_greater < LEVEL for test in tests.values())
    contradicted = any(test.p_less < LEVEL / len(tests) for test in tests.values())
    ahead = sum(test.mean > 0 for test in tests.values())
    behind = sum(test.mean < 0 for test in tests.values())
    numbers = f"Ahead in {ahead} and behind in {behind} of {len(tests)} comparisons"
    means = {key: test.mean for key, test in tests.items() if not math.isnan(test.mean)}
    if means:
        step, loss = min(means, key=lambda key: means[key])
        lead = signed(means[step, loss])
        numbers += f"; the smallest lead is {lead} AP, over {LOSS_TITLES[loss]} at step {step}"
    p_values = [test.p_greater for test in tests.values() if not math.isnan(test.p_greater)]
    words = f"{kinds_of(tests.values())}, one-sided: the largest p is {max(p_values, default=1):.3f}."
    test = f"At each of {len(steps)} evaluations against {len(others)} losses. "
    test += words if p_values else "One seed decides nothing."
    run_ids = [run_ids_of(runs.values())]
    return decide(setting, supported, contradicted, numbers=f"{numbers}.", test=test, run_ids=run_ids)


def _difference_at(step: int, first: list[Run], second: list[Run]) -> Difference:
    def ap(run: Run) -> float:
        return float(run.series("AP").get(step, math.nan))

    return difference(by_seed(first, ap), by_seed(second, ap))


def _perturbed(loss: str, perturbation: str) -> RunGroup:
    return RunGroup(LOSS_TITLES[loss], lambda setting: runs_of(setting, loss, perturbation))


TABLE_1_CLAIMS = [
    table_1(
        name="batch-8-is-best",
        text="Batch size 8 outperforms all smaller ones.",
        verdict=compare_ap(first=BATCH_SIZE[8], others=[BATCH_SIZE[1], BATCH_SIZE[2], BATCH_SIZE[4]]),
    ),
    table_1(
        name="batch-1-is-acceptable",
        text=f"Batch size 1 is still acceptable: it costs less than {ACCEPTABLE:g} AP.",
        verdict=compare_ap(first=BATCH_SIZE[1], others=[BATCH_SIZE[8]], allowance=ACCEPTABLE),
    ),
    table_1(
        name="delta-1-is-best",
        text="δ = 1 is the best of the five.",
        verdict=compare_ap(first=DELTA[1.0], others=[DELTA[0.25], DELTA[0.5], DELTA[2.0], DELTA[4.0]]),
    ),
    table_1(
        name="small-delta-is-worse",
        text="A sharp step, δ = 0.25, is worse than δ = 1.",
        verdict=compare_ap(first=DELTA[1.0], others=[DELTA[0.25]]),
    ),
    table_1(
        name="large-delta-is-worse",
        text="A wide step, δ = 4, is worse than δ = 1.",
        verdict=compare_ap(first=DELTA[1.0], others=[DELTA[4.0]]),
    ),
    table_1(
        name="interpolation-helps",
        text="Interpolated AP is marginally better.",
        verdict=compare_ap(first=INTERPOLATED, others=[NOT_INTERPOLATED]),
    ),
]
TABLE_2_CLAIMS = [
    table_2(
        name="first-retinanet",
        text="AP-loss is ahead of all other losses with RetinaNet, whatever the data.",
        verdict=AP_LOSS_LEADS,
        detector="retinanet",
    ),
    table_2(
        name="first-retinanet-voc",
        text="With RetinaNet on PASCAL VOC, AP-loss is ahead of all other losses: of CE-loss + OHEM by 4.0 AP, of "
        "Focal loss by 1.8 AP and of AUC-loss by 3.8 AP.",
        verdict=AP_LOSS_LEADS,
        detector="retinanet",
        data="voc",
        words=VOC,
    ),
    table_2(
        name="first-retinanet-coco",
        text="With RetinaNet on COCO, AP-loss is ahead of all other losses: of CE-loss + OHEM by 4.2 AP, of Focal loss "
        "by 1.1 AP and of AUC-loss by 9.5 AP.",
        verdict=AP_LOSS_LEADS,
        detector="retinanet",
        data="coco",
        words=COCO,
    ),
    table_2(
        name="first-ssd",
        text="AP-loss is ahead of all other losses with SSD, whatever the data.",
        verdict=AP_LOSS_LEADS,
        detector="ssd",
        words=SSD,
    ),
    table_2(
        name="first-ssd-voc",
        text="With SSD on PASCAL VOC, AP-loss is ahead of all other losses: of CE-loss + OHEM by 1.6 AP, of Focal loss "
        "by 5.9 AP and of AUC-loss by 11.4 AP.",
        verdict=AP_LOSS_LEADS,
        detector="ssd",
        data="voc",
        words=SSD_VOC,
    ),
    table_2(
        name="auc-is-much-worse",
        text=f"AUC-loss is much worse than AP-loss, by more than {MUCH:g} AP.",
        verdict=compare_ap_of_losses(first="ap", others=["auc"], allowance=-MUCH),
    ),
    table_2(
        name="focal-before-ohem-on-coco",
        text="Focal loss is ahead of OHEM on COCO.",
        verdict=compare_ap_of_losses(first="focal", others=["ohem"]),
        detector="retinanet",
        data="coco",
        words=COCO,
    ),
    table_2(
        name="focal-not-before-ohem-on-voc",
        text=f"On PASCAL VOC focal loss is no better than OHEM in AP50: it is ahead by less than {ALIKE:g}.",
        verdict=compare_losses(what="AP50", metric="AP50", first="ohem", others=["focal"], allowance=ALIKE),
        detector="retinanet",
        data="voc",
        words=VOC,
    ),
    table_2(
        name="focal-behind-ohem-on-ssd",
        text="Focal loss is behind OHEM with SSD.",
        verdict=compare_ap_of_losses(first="ohem", others=["focal"]),
        detector="ssd",
        words=SSD,
    ),
]
FIGURE_CLAIMS = [
    Statement(
        name="ahead-at-every-snapshot",
        text="AP-loss is ahead of all other losses at every snapshot of RetinaNet's training.",
        where="Section 4.2.2, Fig. 6a",
        artefact="figure6",
        verdict=ahead_at_every_snapshot,
        detector="retinanet",
    ),
    Statement(
        name="ahead-at-every-snapshot-ssd",
        text="AP-loss is ahead of all other losses at every snapshot of SSD's training.",
        where="Section 4.2.2, Fig. 6b",
        artefact="figure6",
        verdict=ahead_at_every_snapshot,
        detector="ssd",
        words=SSD,
    ),
    figure_7(
        name="fewest-high-negatives",
        text="With AP-loss the fewest negative anchors score high.",
        verdict=compare_losses(
            what=f"Of a million negatives, those that score at least {HIGH_SCORE}:",
            metric=high_negatives,
            first="ap",
            least=True,
            digits=0,
        ),
    ),
    figure_7(
        name="ohem-is-most-confident",
        text="OHEM gives positive anchors the highest scores.",
        verdict=compare_losses(
            what=f"Mean score of anchors with an IoU of at least {POSITIVE_IOU}:",
            metric=positive_score,
            first="ohem",
            digits=2,
        ),
    ),
]
TABLE_3_CLAIMS = [
    Statement(
        name=f"first-on-{perturbation.replace('_', '-')}",
        text=f"AP-loss is ahead of all other losses: {PERTURBATIONS[perturbation]}.",
        where="Section 4.2.2, Table 3",
        artefact="table3",
        detector="retinanet",
        verdict=compare(
            what="AP50" if metric(perturbation) == "AP50" else "Least perturbation",
            metric=metric(perturbation),
            first=_perturbed("ap", perturbation),
            others=[_perturbed(loss, perturbation) for loss in PAPER_LOSSES if loss != "ap"],
        ),
    )
    for perturbation in published_table("table3").columns[2:]  # without the losses and the original images
]
ACCURACY = [*TABLE_1_CLAIMS, *TABLE_2_CLAIMS, *FIGURE_CLAIMS, *TABLE_3_CLAIMS]
