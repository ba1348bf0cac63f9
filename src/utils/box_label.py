"""The label of a box drawn on an image. It imports matplotlib, so import it only where something is drawn."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.text import Text


def label_box(axes: Axes, corner: tuple[float, float], text: str, *, colour: Any, fontsize: float) -> None:
    """Write a label above the upper left corner of a box, and inside the axes, even if the box is at their edge.

    Args:
        corner: (x1, y1) of the box.
        text: one line, in which a $ has no meaning.
        colour: of the background.
        fontsize: in points.
    """
    axes.add_artist(_Label(corner, text, colour=colour, fontsize=fontsize))


class _Label(Text):
    def __init__(self, corner: tuple[float, float], text: str, *, colour: Any, fontsize: float):
        background = {"facecolor": colour, "edgecolor": "none", "alpha": 0.85, "pad": fontsize / 9}
        style: dict[str, Any] = {"color": "black", "fontsize": fontsize, "verticalalignment": "bottom"}
        super().__init__(*corner, text, bbox=background, clip_on=True, parse_math=False, **style)
        self._corner = corner

    def draw(self, renderer: Any) -> None:
        # Only now are the sizes of the text and of the axes known.
        background = self.get_bbox_patch()
        assert self.axes is not None and background is not None
        self.set_position(self._corner)
        self.update_bbox_position_size(renderer)
        label, room, to_pixels = background.get_window_extent(renderer), self.axes.bbox, self.axes.transData
        # Of a label wider than the axes, the beginning is shown.
        right = max(min(room.x1 - label.x1, 0), room.x0 - label.x0)
        up = max(min(room.y1 - label.y1, 0), room.y0 - label.y0)
        x, y = to_pixels.inverted().transform(to_pixels.transform(self._corner) + (right, up))
        self.set_position((x, y))
        super().draw(renderer)
