"""The look of all figures: a column's width, and for each loss and method a colour that colour-blind readers can tell.

Matplotlib is imported only when something is drawn, as it takes half a second.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any

COLUMN, HEIGHT = 3.5, 2.5  # inches
# The colours of Okabe and Ito.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
# For everything but data. In the report's page these two follow its light or dark mode, so data must not use them.
INK, GRID = "#1a1c1f", "#d9dbde"
COLOURS = {
    "ap": BLUE,
    "focal": VERMILION,
    "ohem": ORANGE,
    "auc": GREEN,
    "none": INK,
    "error_driven": BLUE,
    "approximate_gradient": PURPLE,
    "structured_hinge": SKY,
    "loss_seconds": BLUE,
    "iteration_seconds": BLUE,
}
# Matplotlib's settings while a panel is drawn and saved.
SETTINGS: Any = {  # Any, as matplotlib's types list the keys one by one
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.5,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
}


def style_axes(ax: Axes) -> None:
    """Remove the frame above and to the right, and draw a light grid behind the data."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(True)
    ax.set_axisbelow(True)


def label(ax: Axes, x: str, y: str) -> None:
    """Name a panel's axes."""
    ax.set_xlabel(x)
    ax.set_ylabel(y)
