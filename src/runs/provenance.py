"""The version of the running code: its Git commit, and a digest of its files."""

import functools
import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

from src.utils import paths
from src.utils.files import read_json


def code_version() -> dict[str, Any]:
    """Return this code's commit as `git_commit`, and as `git_dirty` whether src, conf or sweeps were edited since.

    Both are None without Git, or if the code is in another repository. The copy of the code for a cluster's jobs is in
    none; there both are read from `code.json`, which was written with the copy.
    """
    noted = read_json(paths.ROOT / "code.json")
    if noted:
        return noted
    top = _git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != paths.ROOT.resolve():
        return {"git_commit": None, "git_dirty": None}
    changes = _git("status", "--porcelain", "--", "src", "conf", "sweeps")
    return {"git_commit": _git("rev-parse", "HEAD"), "git_dirty": None if changes is None else bool(changes)}


def code_files() -> list[Path]:
    """Return the files that a job's copy of the code consists of."""
    # Path.rglob does not follow links to folders.
    found = (Path(place, name) for place, _, names in os.walk(paths.SRC, followlinks=True) for name in names)
    return sorted(file for file in found if file.suffix == ".py")


def code_digest() -> str:
    """Return ten hexadecimal digits that change with any file of this code, committed or not."""
    return _digest(paths.SRC)


@functools.cache
def _digest(root: Path) -> str:
    digest = hashlib.sha256()
    for file in code_files():
        digest.update(f"{file.relative_to(root)}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:10]


def _git(*arguments: str) -> str | None:
    try:
        return subprocess.run(
            ["git", "-C", paths.ROOT, *arguments], capture_output=True, text=True, check=True, timeout=30
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
