"""Where the project's files are. Nothing else in the project derives a path from its own file."""

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SRC = ROOT / "src"
CONF = ROOT / "conf"
SWEEPS = ROOT / "sweeps"
SLURM = ROOT / "slurm"
ANALYSIS = ROOT / "analysis"
