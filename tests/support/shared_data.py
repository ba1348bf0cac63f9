"""Real data shared between checkouts: detections with published metrics, and small data sets."""

import os
from pathlib import Path

import pytest

from src.utils import paths

SHARED_DATA = Path(os.environ.get("SHARED_DATA", paths.ROOT.parent / "shared" / "data"))


def shared_folder(name: str) -> Path:
    """Return a folder of the shared data; skip the test where the folder does not exist."""
    folder = SHARED_DATA / name
    if not folder.is_dir():
        pytest.skip(f"{name} is not in SHARED_DATA={SHARED_DATA}")
    return folder
