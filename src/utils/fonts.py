"""Drawing text in any script with matplotlib, which is imported only when something is drawn."""

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

logger = logging.getLogger(__name__)
# Matplotlib's own font lacks these scripts' characters; it looks for them in the fonts that follow it.
FALLBACKS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "SimHei",
    "Malgun Gothic",
    "Arial Unicode MS",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Noto Emoji",
    "Segoe UI Emoji",
    "Symbola",
)


@contextmanager
def text_in_any_script(settings: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Use installed fonts of other scripts for characters that matplotlib's own font lacks, while figures are drawn.

    The user's matplotlibrc does not count: figures look the same everywhere, and need no LaTeX.
    Characters that no font has are drawn as boxes, and named in a single warning; matplotlib would repeat one for each.

    Args:
        settings: of matplotlib, where they are not its defaults.
    """
    from matplotlib import style
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    families = ["DejaVu Sans", *(name for name in FALLBACKS if name in installed)]
    changed: Any = {"font.family": families, **(settings or {})}  # whose keys matplotlib's types list one by one
    with style.context(["default", changed]):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        missing = {}
        for warning in caught:
            glyph = re.match(r"Glyph (\d+) ", str(warning.message))
            if glyph:
                missing[chr(int(glyph[1]))] = True
            else:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        if missing:
            logger.warning(
                "no installed font has the characters %s, which are drawn as boxes; one of %s has most",
                " ".join(missing),
                ", ".join(FALLBACKS[:2]),
            )
