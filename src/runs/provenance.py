"""The Git commit of the running code."""

import subprocess
from typing import Any

from src.utils import paths
from src.utils.files import read_json


def code_version() -> dict[str, Any]:
    """Return the commit of this code as `git_commit`, and whether it was edited since as `git_dirty`.

    Both are None without Git. The copy of the code for a cluster's jobs is outside the repository; there they are read
    from `code.json`, which was written with the copy.
    """
    noted = read_json(paths.ROOT / "code.json")
    return noted or {"git_commit": _git("rev-parse", "HEAD"), "git_dirty": bool(_git("status", "--porcelain"))}


def _git(*arguments: str) -> str | None:
    try:
        return subprocess.run(
            ["git", "-C", paths.ROOT, *arguments], capture_output=True, text=True, check=True, timeout=30
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
