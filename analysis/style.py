"""The look of all figures: a column's width, and for each method one colour that colour-blind eyes tell apart."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLUMN = 3.5  # inches
# The colours of Okabe and Ito.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
COLOURS = {"error_driven": BLUE, "approximate_gradient": VERMILION, "structured_hinge": GREEN}
TITLES = {
    "error_driven": "error-driven update",
    "approximate_gradient": "approximate gradient",
    "structured_hinge": "structured hinge",
}


def make_figure(panels: int = 1, height: float = 2.5) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels side by side, each a column wide, with small type and a light grid."""
    figure = Figure(figsize=(COLUMN * panels, height), layout="constrained")
    axes = [figure.add_subplot(1, panels, position + 1) for position in range(panels)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(linewidth=0.4, color="0.88")
        ax.tick_params(labelsize=8)
        ax.set_axisbelow(True)
    return figure, axes


def label(ax: Axes, x: str, y: str, title: str = "") -> None:
    """Names a panel and its axes, in sizes that can be read at a column's width."""
    ax.set_xlabel(x, fontsize=9)
    ax.set_ylabel(y, fontsize=9)
    ax.set_title(title, fontsize=9, loc="left")
