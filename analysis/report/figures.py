"""Drawing the panels of an artefact: together as PNG and PDF, and each alone as an SVG for the report's page."""

import hashlib
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from analysis.artefacts.artefact import Artefact, Panel
from analysis.artefacts.style import BLACK, COLUMN, GRID, HEIGHT, INK, SETTINGS, style_axes
from src.utils.files import write_atomically

ABREAST = 2  # panels side by side
DPI = 300


@dataclass(frozen=True)
class Drawing:
    """The figure that the panels of one section make, and the names of its files."""

    name: str
    panels: list[Panel]
    svgs: list[str]  # one a panel

    @property
    def pictures(self) -> list[str]:
        return [f"{self.name}.png", f"{self.name}.pdf"]

    @property
    def files(self) -> list[str]:
        return [*self.pictures, *self.svgs]

    def digest(self, code: str) -> str:
        """What the files follow from: the panels' data and words, and the code that draws them."""
        parts = [code, version("matplotlib"), self.name]
        for panel in self.panels:
            parts += [panel.name, panel.title, panel.alt, panel.data.to_csv(index=False)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def drawing_of(artefact: Artefact, place: int) -> Drawing:
    """The figure of an artefact's section; those after the first have their number in their names."""
    suffix = f"-{place + 1}" if place else ""
    panels = artefact.sections[place].panels
    svgs = [f"{artefact.name}-{panel.name}{suffix}.svg" for panel in panels]
    return Drawing(f"{artefact.name}{suffix}", panels, svgs)


def draw(drawing: Drawing, folder: Path) -> None:
    """Draws all files of a figure."""
    write_figure(drawing.panels, folder / drawing.name)
    for panel, name in zip(drawing.panels, drawing.svgs, strict=True):
        write_atomically(folder / name, lambda file, panel=panel, name=name: _write_svg(panel, name, file))


def write_figure(panels: Sequence[Panel], path: Path) -> None:
    """Draws panels as one figure, two abreast, into `path` with .png and .pdf added to its name."""
    import matplotlib
    from matplotlib.figure import Figure

    across = min(len(panels), ABREAST)
    down = -(-len(panels) // across)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(COLUMN * across, HEIGHT * down), layout="constrained")
        for place, panel in enumerate(panels):
            ax = figure.add_subplot(down, across, place + 1)
            _draw_panel(panel, ax)
            ax.set_title(panel.title, loc="left")
        for ending, about in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
            file = path.with_name(f"{path.name}.{ending}")
            write_atomically(file, lambda f, e=ending, a=about: figure.savefig(f, format=e, dpi=DPI, metadata=a))


def _write_svg(panel: Panel, name: str, file: Path) -> None:
    """Without the title, which the page sets as text."""
    import matplotlib
    from matplotlib.figure import Figure

    nothing = {f"{part}.facecolor": "none" for part in ("figure", "axes", "savefig")}
    with matplotlib.rc_context(SETTINGS | nothing | {"svg.hashsalt": name}):
        figure = Figure(figsize=(COLUMN, HEIGHT), layout="constrained")
        ax = figure.add_subplot()
        _draw_panel(panel, ax)
        if ax.images:
            # Colours of an image mean something on white alone, and so does the ink of lines upon it.
            ax.set_facecolor("white")
            for line in ax.lines:
                line.set_color(BLACK if line.get_color() == INK else line.get_color())
        figure.savefig(file, format="svg", metadata={"Date": None})
    file.write_text(_for_page(file.read_text(), panel.alt, name.removesuffix(".svg")))


def _draw_panel(panel: Panel, ax) -> None:
    style_axes(ax)
    panel.draw(ax)


def _for_page(svg: str, alt: str, prefix: str) -> str:
    """An SVG that can stand inline beside others: with ids of its own, the page's ink, and words for what it shows."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}-', svg).replace("url(#", f"url(#{prefix}-")
    svg = svg.replace(INK, "currentColor").replace(GRID, f"var(--grid, {GRID})")
    words = html.escape(alt)
    start = svg.index(">") + 1
    return f'{svg[: start - 1]} role="img" aria-label="{words}"><title>{words}</title>{svg[start:]}'
