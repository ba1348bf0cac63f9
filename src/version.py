"""Which code this is."""

import subprocess
from pathlib import Path
from typing import Any

from src.files import read_json

ROOT = Path(__file__).parent.parent


def code_version() -> dict[str, Any]:
    """The commit of this code, and whether it has been edited since; a copy made for a cluster knows them from then."""
    noted = read_json(ROOT / "code.json")
    return noted or {"git_commit": _git("rev-parse", "HEAD"), "git_dirty": bool(_git("status", "--porcelain"))}


def _git(*arguments: str) -> str | None:
    try:
        return subprocess.run(
            ["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=True, timeout=30
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
