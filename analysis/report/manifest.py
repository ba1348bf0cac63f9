"""What the last report wrote into its folder, so that drawings are kept and only its own files are removed."""

import hashlib
import json
from pathlib import Path

from src.utils import paths
from src.utils.files import write_json

NAME = ".manifest.json"


def read_manifest(folder: Path) -> tuple[dict[str, str], set[str]]:
    """The digests of the figures drawn by name, and the names of all files; empty if there is no whole manifest."""
    try:
        content = json.loads((folder / NAME).read_text())
        drawn, files = content["drawn"], content["files"]
        whole = all(isinstance(x, str) for x in [*drawn, *drawn.values(), *files])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}, set()
    # A name with a folder in it is none that the report writes.
    return (drawn, {name for name in files if Path(name).name == name}) if whole else ({}, set())


def write_manifest(folder: Path, drawn: dict[str, str], files: set[str]) -> None:
    """Notes what is in the folder."""
    write_json(folder / NAME, {"drawn": drawn, "files": sorted(files)})


def digest_of_code() -> str:
    """Of all code of this folder's parent, from which every drawing follows."""
    digest = hashlib.sha256()
    for file in sorted(paths.ANALYSIS.rglob("*.py")):
        digest.update(str(file.relative_to(paths.ANALYSIS)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
