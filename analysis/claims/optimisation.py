"""What the paper claims of the ways to optimise AP-loss: Fig. 8."""

from collections.abc import Callable

from analysis.artefacts.artefact import Verdict
from analysis.artefacts.figure8 import final_ap_loss
from analysis.claims.rules import Group, Statement, against, compare, equal
from analysis.reading.runs import Run
from analysis.reading.settings import METHOD_TITLES, Setting, ablation_values

STUCK = 0.9  # of the AP-loss at the beginning: what stays above it has not converged
WELL = 0.1  # of AP-loss by which the structured hinge has to be above; 0.4 and more in the paper
STEADY = 0.05  # of AP-loss by which steady values may differ
FEW, MANY = 4000, 8000  # proposals below and from which on the paper tells the methods apart


def share_left(run: Run) -> float:
    """The AP-loss of the last tenth of the steps over that of the first ones; NaN if none was logged."""
    values = run.series("ap_loss")
    start = values[values.index <= 0.02 * values.index.max()] if len(values) else values
    return final_ap_loss(run) / float((start if len(start) else values.head(1)).mean()) if len(values) else float("nan")


def _on_all_anchors(method: str, setting: Setting) -> list[Run]:
    return setting.select(method=method, box_loss=False)


def _on_proposals(method: str, wanted: Callable[[int], bool], snapshot: bool, setting: Setting) -> list[Run]:
    found = []
    for run in setting.runs:
        knobs = ablation_values(run.config)
        if (knobs.get("method"), knobs["snapshot"]) == (method, snapshot) and wanted(int(knobs["proposals"] or 0)):
            found.append(run)
    return found


def _stuck(setting: Setting) -> Verdict | None:
    runs = _on_all_anchors("approximate_gradient", setting)
    return against(setting, "AP-loss at the end over that at the beginning", share_left, runs, STUCK)


def _hinge_above(setting: Setting) -> Verdict | None:
    hinge, ours = ((METHOD_TITLES[m], _on_all_anchors(m, setting)) for m in ("structured_hinge", "error_driven"))
    return compare(setting, "Final AP-loss", final_ap_loss, hinge, [ours], allowance=-WELL, digits=2)


def _few_proposals(setting: Setting) -> Verdict | None:
    runs = _on_proposals("approximate_gradient", lambda count: 0 < count < FEW, False, setting)
    what = f"AP-loss at the end over that at the beginning, with fewer than {FEW} proposals,"
    return against(setting, what, share_left, runs, STUCK, least=True)


def _warm_start(setting: Setting) -> Verdict | None:
    """Against the same numbers of proposals from the start, as a snapshot begins with less AP-loss."""
    warm, cold = (
        (name, _on_proposals("approximate_gradient", lambda count: count >= MANY, snapshot, setting))
        for name, snapshot in (("a snapshot", True), ("no snapshot", False))
    )
    if not warm[1]:
        return None
    what = f"Final AP-loss, with {MANY} proposals and more,"
    return compare(setting, what, final_ap_loss, warm, [cold], least=True, digits=2)


def _ends(method: str, setting: Setting) -> list[Group]:
    """The runs with most and with fewest proposals, if these differ."""
    counts = sorted({ablation_values(run.config)["proposals"] for run in _on_proposals(method, bool, False, setting)})
    if len(counts) < 2:
        return []
    return [
        (f"{count} proposals", _on_proposals(method, lambda x, count=count: x == count, False, setting))
        for count in (counts[-1], counts[0])
    ]


def _hinge_grows(setting: Setting) -> Verdict | None:
    ends = _ends("structured_hinge", setting)
    return compare(setting, "Final AP-loss", final_ap_loss, ends[0], ends[1:], digits=2) if ends else None


def _steady(setting: Setting) -> Verdict | None:
    ends = _ends("error_driven", setting)
    return equal(setting, "Final AP-loss", final_ap_loss, ends, STEADY) if ends else None


PROPOSALS = "an RPN's proposals"
OPTIMISATION = [
    Statement(
        "approximate-gradient-is-stuck",
        f"On all anchors the approximate gradient does not converge: over {STUCK:.0%} of the first AP-loss stay.",
        "Section 4.2.3, Fig. 8a",
        "figure8",
        _stuck,
    ),
    Statement(
        "hinge-stays-above",
        f"The structured hinge loss stays well above the error-driven update, by over {WELL:g} of AP-loss.",
        "Section 4.2.3, Fig. 8a",
        "figure8",
        _hinge_above,
    ),
    Statement(
        "approximate-gradient-with-few-proposals",
        f"With fewer than {FEW} proposals the approximate gradient converges: less than {STUCK:.0%} stay.",
        "Section 4.2.3, Fig. 8b",
        "figure8",
        _few_proposals,
        lacking=PROPOSALS,
    ),
    Statement(
        "approximate-gradient-from-a-snapshot",
        f"With {MANY} proposals and more the approximate gradient converges from a snapshot trained with fewer alone.",
        "Section 4.2.3, Fig. 8b",
        "figure8",
        _warm_start,
        lacking=PROPOSALS,
    ),
    Statement(
        "hinge-grows-with-imbalance",
        "With more proposals the structured hinge loss ends at a higher AP-loss.",
        "Section 4.2.3, Fig. 8b",
        "figure8",
        _hinge_grows,
        lacking=PROPOSALS,
    ),
    Statement(
        "error-driven-is-steady",
        f"However many proposals, the error-driven update ends at the same AP-loss, within {STEADY:g}.",
        "Section 4.2.3, Fig. 8b",
        "figure8",
        _steady,
        lacking=PROPOSALS,
    ),
]
