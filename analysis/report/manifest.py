"""The record of what the last report wrote into its folder: up-to-date drawings are kept, obsolete files removed."""

import hashlib
import json
from pathlib import Path

from src.utils import paths
from src.utils.files import write_json

NAME = ".manifest.json"


def read_manifest(folder: Path) -> tuple[dict[str, str], set[str]]:
    """Read the manifest of a report's folder.

    Returns:
        The digests of the drawn figures by name, and the names of all files; both empty if the manifest is missing or
        damaged.
    """
    try:
        content = json.loads((folder / NAME).read_text(encoding="utf-8"))
        digests, files = content["drawn"], content["files"]
        valid = all(isinstance(text, str) for text in [*digests, *digests.values(), *files])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}, set()
    # The report writes no file outside its folder, so it removes none there.
    return (digests, {name for name in files if Path(name).name == name}) if valid else ({}, set())


def write_manifest(folder: Path, digests: dict[str, str], files: set[str]) -> None:
    """Write the manifest: the digests of the drawn figures by name, and the names of all files."""
    write_json(folder / NAME, {"drawn": digests, "files": sorted(files)})


def digest_of_code() -> str:
    """Return a digest of all code of the analysis, on which every drawing depends."""
    digest = hashlib.sha256()
    for file in sorted(paths.ANALYSIS.rglob("*.py")):
        digest.update(str(file.relative_to(paths.ANALYSIS)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
