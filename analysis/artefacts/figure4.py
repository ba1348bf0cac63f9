"""Fig. 4: the Heaviside and the piecewise step function, and the sigmoid of the approximate gradient."""

from functools import partial

import pandas as pd

from analysis.artefacts.artefact import Artefact, Panel, Section
from analysis.artefacts.style import BLUE, GREEN, INK, ORANGE, PURPLE, SKY, VERMILION, Axes, label
from analysis.reading.runs import Runs

TITLE = "Fig. 4: step functions"
CAPTION = (
    "The Heaviside step function (Eq. 4), the piecewise one (Eq. 21) with the δ of Table 1, and the sigmoid of the "
    "approximate gradient, as src/losses computes them."
)
DELTAS = {0.25: ORANGE, 0.5: SKY, 1.0: BLUE, 2.0: GREEN, 4.0: PURPLE}  # those of Table 1
REACH = 5.0


def build(runs: Runs) -> Artefact:
    """Build the step functions at x from −5 to 5; no run is needed."""
    data = curves()
    alt = (
        "f(x) against x. The Heaviside function jumps from 0 to 1 at 0. The piecewise ones rise linearly from −δ to δ, "
        "more steeply for smaller δ. The sigmoid rises smoothly."
    )
    panel = Panel("functions", "", partial(_draw, data), data, alt)
    return Artefact("figure4", TITLE, CAPTION, [Section("", panels=[panel])])


def curves() -> pd.DataFrame:
    """Return the functions' values: columns step, delta (NaN for Heaviside, which has none), x and f."""
    import torch  # only here, as it takes a second

    from src.losses import step_function

    x = torch.linspace(-REACH, REACH, 1001, dtype=torch.float64)
    functions = [("heaviside", float("nan"), step_function(x, "heaviside"))]
    functions += [("piecewise", delta, step_function(x, "piecewise", delta)) for delta in DELTAS]
    functions.append(("sigmoid", 1.0, step_function(x, "sigmoid", 1.0)))
    parts = [
        pd.DataFrame({"step": step, "delta": delta, "x": x.numpy(), "f": f.numpy()}) for step, delta, f in functions
    ]
    return pd.concat(parts, ignore_index=True)


def _draw(data: pd.DataFrame, ax: Axes) -> None:
    for (step, delta), curve in data.groupby(["step", "delta"], sort=False, dropna=False):
        if step == "heaviside":
            # Two pieces: a line between them would be a slope that the function does not have.
            for value in (0, 1):
                piece = curve[curve.f == value]
                ax.plot(piece.x, piece.f, color=INK, linewidth=1.8, label=None if value else "Heaviside")
        elif step == "piecewise":
            ax.plot(curve.x, curve.f, color=DELTAS[delta], linewidth=1.4, label=f"piecewise, δ = {delta:g}")
        else:
            ax.plot(curve.x, curve.f, color=VERMILION, linewidth=1.2, linestyle="--", label=f"sigmoid, δ = {delta:g}")
    label(ax, "x", "f(x)")
    ax.set_xlim(-REACH, REACH)
    ax.legend(loc="upper left", handlelength=1.6)
