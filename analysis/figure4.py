"""Fig. 4: the Heaviside and the piecewise step function, beside the sigmoid of the approximate gradient."""

import pandas as pd
import torch
from matplotlib.figure import Figure

from analysis.runs import Run
from analysis.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, label, make_figure
from src.losses import step_function

DELTAS = {0.25: ORANGE, 0.5: SKY, 1.0: BLUE, 2.0: GREEN, 4.0: PURPLE}  # those of Table 1
REACH = 5.0


def build(runs: list[Run]) -> pd.DataFrame:
    """The step functions at x from −5 to 5; no run is needed.

    Returns:
        A column for each function, named by its `step` and `delta` (NaN for Heaviside, which has none); x is the index.
    """
    x = torch.linspace(-REACH, REACH, 1001, dtype=torch.float64)
    curves = {("heaviside", float("nan")): step_function(x, "heaviside")}
    curves |= {("piecewise", delta): step_function(x, "piecewise", delta) for delta in DELTAS}
    curves["sigmoid", 1.0] = step_function(x, "sigmoid", 1.0)
    columns = pd.MultiIndex.from_tuples(curves, names=["step", "delta"])
    values = torch.stack(list(curves.values()), 1).numpy()
    return pd.DataFrame(values, index=pd.Index(x.numpy(), name="x"), columns=columns)


def draw(curves: pd.DataFrame) -> Figure:
    """f(x) against x, one line a step function."""
    figure, (ax,) = make_figure()
    for (step, delta), values in curves.items():
        if step == "heaviside":
            # Two pieces: a line between them would be a slope that the function does not have.
            for piece in (values[values == 0], values[values == 1]):
                ax.plot(piece, color=BLACK, linewidth=1.8, label="Heaviside" if piece.iloc[0] else None)
        elif step == "piecewise":
            ax.plot(values, color=DELTAS[delta], linewidth=1.4, label=f"piecewise, δ = {delta:g}")
        else:
            ax.plot(values, color=VERMILION, linewidth=1.2, linestyle="--", label=f"sigmoid, δ = {delta:g}")
    label(ax, "x", "f(x)")
    ax.set_xlim(-REACH, REACH)
    ax.legend(fontsize=7, frameon=False, loc="upper left", handlelength=1.6)
    return figure


def to_text(curves: pd.DataFrame) -> str:
    """What the figure shows."""
    return "Fig. 4: " + ", ".join(f"{step} {delta:g}".replace(" nan", "") for step, delta in curves)
