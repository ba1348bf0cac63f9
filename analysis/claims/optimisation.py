"""What the paper claims about the ways to optimise AP-loss: Fig. 8."""

import operator
from collections.abc import Callable
from functools import partial

from analysis.artefacts.artefact import Verdict
from analysis.artefacts.figure8 import final_ap_loss
from analysis.claims.rules import Rule, RunGroup, Statement, against_bound, compare, equal, selected
from analysis.reading.runs import Run
from analysis.reading.settings import METHOD_TITLES, Setting, ablation_values

STUCK = 0.9  # of the AP-loss at the beginning: what stays above it has not converged
WELL = 0.1  # of AP-loss by which the structured hinge has to be above; 0.4 and more in the paper
STEADY = 0.05  # of AP-loss by which steady values may differ
FEW, MANY = 4000, 8000  # proposals: below FEW the paper's methods are alike, from MANY on they are not
PROPOSALS = "an RPN's proposals"
FIGURE_8A, FIGURE_8B = "Section 4.2.3, Fig. 8a", "Section 4.2.3, Fig. 8b"


def share_left(run: Run) -> float:
    """Return the AP-loss of the last tenth of the steps over that of the first ones; NaN if none was logged."""
    values = run.series("ap_loss")
    start = values[values.index <= 0.02 * values.index.max()] if len(values) else values
    return final_ap_loss(run) / float((start if len(start) else values.head(1)).mean()) if len(values) else float("nan")


def _with_proposals(
    setting: Setting, method: str, accepted: Callable[[int], bool], snapshot: bool = False
) -> list[Run]:
    """Return a method's runs on proposals whose number is accepted, started from a snapshot or not."""
    runs = []
    for run in setting.runs:
        values = ablation_values(run.config)
        is_wanted = (values.get("method"), values["snapshot"]) == (method, snapshot)
        if is_wanted and values["proposals"] is not None and accepted(int(values["proposals"])):
            runs.append(run)
    return runs


def _proposals(name: str, method: str, accepted: Callable[[int], bool], snapshot: bool = False) -> RunGroup:
    return RunGroup(name, partial(_with_proposals, method=method, accepted=accepted, snapshot=snapshot))


def _most_and_fewest_proposals(method: str, rule: Callable[[RunGroup, RunGroup], Rule]) -> Rule:
    """Return a rule for a method's runs with most and with fewest proposals, if these numbers differ."""

    def verdict(setting: Setting) -> Verdict | None:
        runs = _with_proposals(setting, method, lambda count: True)
        counts = sorted({int(ablation_values(run.config)["proposals"]) for run in runs})
        if len(counts) < 2:
            return None
        most, fewest = (_proposals(f"{n} proposals", method, partial(operator.eq, n)) for n in (counts[-1], counts[0]))
        return rule(most, fewest)(setting)

    return verdict


def _without_box_loss(method: str) -> RunGroup:
    return selected(METHOD_TITLES[method], method=method, box_loss=False)


OPTIMISATION = [
    Statement(
        name="approximate-gradient-is-stuck",
        text=f"On all anchors the approximate gradient does not converge: over {STUCK:.0%} of the AP-loss remains.",
        where=FIGURE_8A,
        artefact="figure8",
        verdict=against_bound(
            what="AP-loss at the end over that at the beginning",
            metric=share_left,
            group=_without_box_loss("approximate_gradient"),
            bound=STUCK,
        ),
    ),
    Statement(
        name="hinge-stays-above",
        text=f"The structured hinge loss stays well above the error-driven update, by over {WELL:g} of AP-loss.",
        where=FIGURE_8A,
        artefact="figure8",
        verdict=compare(
            what="Final AP-loss",
            metric=final_ap_loss,
            first=_without_box_loss("structured_hinge"),
            others=[_without_box_loss("error_driven")],
            allowance=-WELL,
            digits=2,
        ),
    ),
    Statement(
        name="approximate-gradient-with-few-proposals",
        text=f"With fewer than {FEW} proposals the approximate gradient converges: less than {STUCK:.0%} remains.",
        where=FIGURE_8B,
        artefact="figure8",
        verdict=against_bound(
            what=f"AP-loss at the end over that at the beginning, with fewer than {FEW} proposals,",
            metric=share_left,
            group=_proposals("few proposals", "approximate_gradient", lambda count: 0 < count < FEW),
            bound=STUCK,
            least=True,
        ),
        missing_code=PROPOSALS,
    ),
    Statement(
        name="approximate-gradient-from-a-snapshot",
        text=f"With at least {MANY} proposals the approximate gradient converges only from a snapshot trained with "
        "fewer.",
        where=FIGURE_8B,
        artefact="figure8",
        # Against the same numbers of proposals without one, as a snapshot begins with less AP-loss.
        verdict=compare(
            what=f"Final AP-loss, with at least {MANY} proposals,",
            metric=final_ap_loss,
            first=_proposals("a snapshot", "approximate_gradient", lambda count: count >= MANY, snapshot=True),
            others=[_proposals("no snapshot", "approximate_gradient", lambda count: count >= MANY)],
            least=True,
            digits=2,
        ),
        missing_code=PROPOSALS,
    ),
    Statement(
        name="hinge-grows-with-imbalance",
        text="With more proposals the structured hinge loss ends at a higher AP-loss.",
        where=FIGURE_8B,
        artefact="figure8",
        verdict=_most_and_fewest_proposals(
            "structured_hinge",
            lambda most, fewest: compare(
                what="Final AP-loss", metric=final_ap_loss, first=most, others=[fewest], digits=2
            ),
        ),
        missing_code=PROPOSALS,
    ),
    Statement(
        name="error-driven-is-steady",
        text=f"Whatever the number of proposals, the error-driven update ends at the same AP-loss, within {STEADY:g}.",
        where=FIGURE_8B,
        artefact="figure8",
        verdict=_most_and_fewest_proposals(
            "error_driven",
            lambda most, fewest: equal(
                what="Final AP-loss", metric=final_ap_loss, groups=(most, fewest), margin=STEADY
            ),
        ),
        missing_code=PROPOSALS,
    ),
]
