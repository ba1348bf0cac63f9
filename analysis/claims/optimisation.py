"""What the paper claims about the ways to optimise AP-loss: Fig. 8."""

import math
import operator
from collections.abc import Callable
from functools import partial

from analysis.artefacts.artefact import Verdict
from analysis.artefacts.figure8 import CONVERGED, final_ap_loss, first_ap_loss, on_proposals, share_of_anchors
from analysis.artefacts.table_cells import values_of
from analysis.claims.rules import Bound, Rule, RunGroup, Statement, against_bound, compare, equal, selected
from analysis.reading.runs import Run
from analysis.reading.settings import METHOD_TITLES, Setting, ablation_values

STUCK = CONVERGED  # of the AP-loss at the beginning: what stays above it has not converged
WELL = 0.1  # of AP-loss by which the structured hinge has to be above; 0.4 and more in the paper
STEADY = 0.05  # of AP-loss by which steady values may differ
# Of the anchors of an image, as the paper has 4000 and 8000 proposals of RetinaNet's 32,736 anchors at 512 × 512: below
# FEW its methods are alike, from MANY on they are not.
FEW, MANY = 4000 / 32736, 8000 / 32736
FIGURE_8A, FIGURE_8B = "Section 4.2.3, Fig. 8a", "Section 4.2.3, Fig. 8b"


def share_left(run: Run) -> float:
    """Return the AP-loss of the last tenth of the steps over that of the first ones; NaN if none was logged."""
    return _share(final_ap_loss(run), first_ap_loss(run))


def _share(value: float, start: float) -> float:
    """Return a value over that at the beginning; NaN if that is 0, as of batches whose crops have no object."""
    return value / start if start else math.nan


def _proposals(name: str, method: str, accepted: Callable[[float], bool], snapshot: bool = False) -> RunGroup:
    """Return the group of a method's runs whose proposals are an accepted share of the anchors."""

    def runs(setting: Setting) -> list[Run]:
        pairs = ((run, ablation_values(run.config)) for run in on_proposals(setting))
        return [
            run
            for run, values in pairs
            if (values["method"], values["snapshot"] is not None) == (method, snapshot)
            and accepted(share_of_anchors(run))
        ]

    return RunGroup(name, runs)


def _shares(setting: Setting, method: str, accepted: Callable[[float], bool], snapshot: bool = False) -> list[float]:
    """Return the shares of anchors that a method's runs have as proposals, as far as they are accepted."""
    return sorted({share_of_anchors(run) for run in _proposals("any", method, accepted, snapshot).runs(setting)})


def _most_and_fewest_proposals(method: str, rule: Callable[[RunGroup, RunGroup], Rule]) -> Rule:
    """Return a rule for a method's runs with most and with fewest proposals, if these numbers differ."""

    def verdict(setting: Setting) -> Verdict | None:
        shares = _shares(setting, method, lambda share: True)
        if len(shares) < 2:
            return None
        most, fewest = (
            _proposals(f"{share:.1%} of the anchors", method, partial(operator.eq, share))
            for share in (shares[-1], shares[0])
        )
        return rule(most, fewest)(setting)

    return verdict


def _each_with_few_proposals(setting: Setting) -> list[Bound]:
    """Return the bound that the approximate gradient has to stay below with each number of few proposals."""
    shares = _shares(setting, "approximate_gradient", FEW.__gt__)
    return [
        Bound(
            _proposals(f"{share:.1%} of the anchors", "approximate_gradient", partial(operator.eq, share)),
            share_left,
            least=True,
        )
        for share in shares
    ]


def _with_and_without_a_snapshot(setting: Setting) -> list[Bound]:
    """Return the bounds of the approximate gradient on the most proposals: without a snapshot it is above, else below.

    Both are shares of the AP-loss at the beginning without a snapshot, as with one a training begins with less.
    """
    shares = _shares(setting, "approximate_gradient", MANY.__le__, snapshot=True)
    if not shares:
        return []
    cold, warm = (
        _proposals(
            f"{name} and {shares[-1]:.1%} of the anchors",
            "approximate_gradient",
            partial(operator.eq, shares[-1]),
            snapshot,
        )
        for name, snapshot in (("no snapshot", False), ("a snapshot", True))
    )
    starts = values_of(cold.runs(setting), first_ap_loss).values()
    start = sum(starts) / len(starts) if starts else math.nan
    return [Bound(cold, share_left), Bound(warm, lambda run: _share(final_ap_loss(run), start), least=True)]


def _without_box_loss(method: str) -> RunGroup:
    return selected(METHOD_TITLES[method], method=method, box_loss=False)


OPTIMISATION = [
    Statement(
        name="approximate-gradient-is-stuck",
        text=f"On all anchors the approximate gradient does not converge: over {STUCK:.0%} of the AP-loss remains.",
        where=FIGURE_8A,
        artefact="figure8",
        verdict=against_bound(
            "AP-loss at the end over that at the beginning",
            STUCK,
            lambda setting: [Bound(_without_box_loss("approximate_gradient"), share_left)],
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
        text=f"With proposals of less than {FEW:.0%} of the anchors, 4000 in the paper, the approximate gradient "
        f"converges: less than {STUCK:.0%} of the AP-loss remains.",
        where=FIGURE_8B,
        artefact="figure8",
        verdict=against_bound("AP-loss at the end over that at the beginning", STUCK, _each_with_few_proposals),
    ),
    Statement(
        name="approximate-gradient-from-a-snapshot",
        text=f"With proposals of at least {MANY:.0%} of the anchors, 8000 in the paper, the approximate gradient "
        "converges only from a snapshot trained with fewer.",
        where=FIGURE_8B,
        artefact="figure8",
        verdict=against_bound(
            "AP-loss at the end over that at the beginning without a snapshot", STUCK, _with_and_without_a_snapshot
        ),
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
    ),
]
