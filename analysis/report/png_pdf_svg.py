"""The panels of an artefact as pictures: together as PNG and PDF, and each alone as an SVG for the report's page."""

import base64
import hashlib
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from analysis.artefacts.artefact import Artefact, Panel
from analysis.artefacts.style import BLACK, COLUMN, GRID, HEIGHT, INK, SETTINGS, Axes, style_axes
from src.utils.files import write_atomically
from src.utils.fonts import text_in_any_script

DPI = 300
# With images, whose files would else be large: about that of the images that runs log.
DPI_WITH_IMAGES = {"png": 110, "pdf": 80}  # a PDF's text and lines have no resolution
JPEG_QUALITY = 85  # of photographs in SVG files


@dataclass(frozen=True)
class Drawing:
    """The figure that the panels of one section make, and the names of its files."""

    name: str
    panels: list[Panel]
    svgs: list[str]  # one per panel
    per_row: int  # panels of the pictures

    @property
    def pictures(self) -> list[str]:
        """The files that show all panels together."""
        return [f"{self.name}.png", f"{self.name}.pdf"]

    @property
    def files(self) -> list[str]:
        """All files."""
        return [*self.pictures, *self.svgs]

    def digest(self, code: str) -> str:
        """Return a digest of what the files depend on: the panels' data and texts, and the code that draws them."""
        parts = [code, version("matplotlib"), version("pillow"), self.name, str(self.per_row)]
        for panel in self.panels:
            parts += [panel.name, panel.title, panel.alt, panel.data.to_csv(index=False)]
        return hashlib.sha256("\0".join(parts).encode(errors="backslashreplace")).hexdigest()


def drawing_of(artefact: Artefact, index: int) -> Drawing:
    """Return the figure of the artefact's section of this index; from the second section on, names end in a number."""
    suffix = f"-{index + 1}" if index else ""
    panels = artefact.sections[index].panels
    svgs = [f"{artefact.name}-{panel.name}{suffix}.svg" for panel in panels]
    return Drawing(f"{artefact.name}{suffix}", panels, svgs, artefact.panels_per_row)


def drawings_of(artefact: Artefact) -> list[Drawing]:
    """Return the figures of all sections that have panels."""
    return [drawing_of(artefact, index) for index, section in enumerate(artefact.sections) if section.panels]


def draw(drawing: Drawing, folder: Path) -> None:
    """Draw all files of a figure."""
    write_png_and_pdf(drawing.panels, folder / drawing.name, drawing.per_row)
    for panel, name in zip(drawing.panels, drawing.svgs, strict=True):
        write_svg(panel, folder / name)


def write_png_and_pdf(panels: Sequence[Panel], path: Path, per_row: int) -> None:
    """Draw panels as one figure, so many per row, into `path` with .png and .pdf added to its name."""
    from matplotlib.figure import Figure

    columns = min(len(panels), per_row)
    rows = -(-len(panels) // columns)
    with text_in_any_script(SETTINGS):
        figure = Figure(figsize=(COLUMN * columns, HEIGHT * rows), layout="constrained")
        for number, panel in enumerate(panels, start=1):
            ax = figure.add_subplot(rows, columns, number)
            _draw_panel(panel, ax)
            ax.set_title(panel.title, loc="left", parse_math=False)
        has_images = any(ax.images for ax in figure.axes)
        # Without program and date, so that the same figure is the same file.
        for extension, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
            buffer = io.BytesIO()
            dpi = DPI_WITH_IMAGES[extension] if has_images else DPI
            figure.savefig(buffer, format=extension, dpi=dpi, metadata=metadata)
            content = buffer.getvalue()
            content = _with_palette(content) if has_images and extension == "png" else content
            write_atomically(path.with_name(f"{path.name}.{extension}"), partial(Path.write_bytes, data=content))


def write_svg(panel: Panel, path: Path) -> None:
    """Draw a panel as an SVG to stand inline in the page, without its title, which the page sets as text.

    The name of the file makes the ids in it unique.
    """
    from matplotlib.figure import Figure

    transparent = {f"{part}.facecolor": "none" for part in ("figure", "axes", "savefig")}
    with text_in_any_script(SETTINGS | transparent | {"svg.hashsalt": path.name}):
        figure = Figure(figsize=(COLUMN, HEIGHT), layout="constrained")
        ax = figure.add_subplot()
        _draw_panel(panel, ax)
        if ax.images:
            # An image's colours are chosen for a white background, and so is the ink of lines on it.
            ax.set_facecolor("white")
            for line in ax.lines:
                line.set_color(BLACK if line.get_color() == INK else line.get_color())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = _inline_svg(buffer.getvalue().decode(), panel.alt, path.stem)
    write_atomically(path, lambda file: file.write_text(svg, encoding="utf-8", errors="backslashreplace"))


def _draw_panel(panel: Panel, ax: Axes) -> None:
    style_axes(ax)
    panel.draw(ax)
    # Names of data sets and the like may have dollar signs, which are no mathematics. Tick labels may be mathematics:
    # matplotlib writes powers of ten so.
    legend = ax.get_legend()
    for text in [ax.xaxis.label, ax.yaxis.label, *ax.texts, *(legend.get_texts() if legend else [])]:
        text.set_parse_math(False)


def _inline_svg(svg: str, alt: str, prefix: str) -> str:
    """Return an SVG that can stand among others in a page: with unique ids, the page's ink, and `alt` as its name."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"data:image/png;base64,\s*([\w+/=\s]+)", _smaller_image, svg)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}-', svg).replace("url(#", f"url(#{prefix}-")
    svg = svg.replace(INK, "currentColor").replace(GRID, f"var(--grid, {GRID})")
    name = html.escape(alt)
    end = svg.index(">")
    return f'{svg[:end]} role="img" aria-label="{name}"><title>{name}</title>{svg[end + 1 :]}'


def _with_palette(png: bytes) -> bytes:
    """Return a PNG image with the 256 colours that fit it best."""
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").quantize(256).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _smaller_image(match: re.Match[str]) -> str:
    """Return an SVG's PNG image as JPEG, unless it has transparent parts or is smaller as it is, as drawings are."""
    from PIL import Image

    png = base64.b64decode(match[1])
    with Image.open(io.BytesIO(png)) as image:
        opaque = not image.has_transparency_data or image.convert("RGBA").getchannel("A").getextrema() == (255, 255)
        jpeg = io.BytesIO()
        image.convert("RGB").save(jpeg, "JPEG", quality=JPEG_QUALITY)
    if not opaque or len(jpeg.getvalue()) >= len(png):
        return match[0]
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"
