"""The paths of the project's files. No other module derives a path from its own file."""

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
