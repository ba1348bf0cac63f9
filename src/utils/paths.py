"""The paths of the project's files. No other module derives a path from its own file."""

import os
from pathlib import Path

from src.utils.errors import UserError

ROOT = Path(__file__).parent.parent.parent
SRC = ROOT / "src"
CONF = ROOT / "conf"
SWEEPS = ROOT / "sweeps"
SLURM = ROOT / "slurm"
ANALYSIS = ROOT / "analysis"


def check_checkout() -> None:
    """Raise a UserError if the configuration files are missing, as they are in an installation that is not editable."""
    if not CONF.is_dir():
        raise UserError(
            f"{CONF} does not exist: conf/, sweeps/ and slurm/ are read from a checkout of this project. Run the "
            "command in a checkout, or install that with `pip install -e .`"
        )


def cache_folder() -> Path:
    """Return the folder of the user's caches: XDG_CACHE_HOME, or .cache at home.

    Raises:
        UserError: there is no home.
    """
    given = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(given) if given else Path.home() / ".cache"
    except RuntimeError:
        raise UserError("this user has no home folder: set HOME or XDG_CACHE_HOME") from None
