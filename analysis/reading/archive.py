"""Keeps the runs that a report is from beside it, with their images, to be committed and to build the report again."""

import json
import logging
from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.reading.kept_runs import DAMAGE, FORMAT, RUNS, about, load, save
from analysis.reading.runs import LEFT_OUT, Run, Runs
from src.utils.errors import UserError
from src.utils.files import write_atomically

logger = logging.getLogger(__name__)
FOLDER, IMAGES = "runs", "images"
UNREADABLE = "unreadable"


def write_archive(
    runs: Runs, report: Path, *, detections: Mapping[str, bytes], shown: Container[tuple[str, str]]
) -> None:
    """Write runs, and the images that a report shows, into its folder `runs`; those of an earlier archive are removed.

    Args:
        detections: by the ids of runs the JPEG that the report shows in place of their large picture of detections.
        shown: of the other images those that the report's figures show, by run and key.

    Raises:
        UserError: the folder cannot be written to.
    """
    folder = report / FOLDER
    names: set[Path] = set()

    def keep(run: Run, key: str, image: dict[str, Any]) -> dict[str, Any]:
        file = run.image(key)
        if file is None or not (run.run_id in detections if key == "detections" else (run.run_id, key) in shown):
            left_out = {LEFT_OUT: True} if file or LEFT_OUT in image else {}
            return {name: value for name, value in image.items() if name != "path"} | left_out
        content, suffix = file.read_bytes(), file.suffix
        if key == "detections":
            content, suffix = detections[run.run_id], ".jpg"
        name = Path(IMAGES, run.run_id, f"{key}{suffix}")
        names.add(name)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, lambda temporary: temporary.write_bytes(content))
        return image | {"path": name.as_posix()}

    try:
        folder.mkdir(parents=True, exist_ok=True)
        kept = [("", _with_images(run, keep)) for run in runs.all]
        save(kept, folder, {UNREADABLE: json.dumps(runs.unreadable)})
        for file in sorted((folder / IMAGES).glob("*/*")):
            if file.relative_to(folder) not in names:
                file.unlink()
    except OSError as error:
        raise UserError(f"{folder}: the runs cannot be kept there: {error.strerror}") from error


def read_archive(report: Path, unfinished_too: bool = False) -> Runs:
    """Return the runs that `write_archive` has written into a report; of images that are missing a warning tells.

    Raises:
        UserError: there are none, or the files are damaged or of another version.
    """
    folder = report / FOLDER
    if not (folder / RUNS).is_file():
        raise UserError(f"--from {report}: no {FOLDER}/{RUNS} is there; python -m analysis --archive FOLDER writes it")
    try:
        words = about(folder)
        same_format = words["format"] == FORMAT
        runs = [run for _, run in load(folder)] if same_format else []
        unreadable = json.loads(words[UNREADABLE])
    except DAMAGE as error:
        raise UserError(f"--from {report}: {folder} is damaged: {error!r}") from error
    if not same_format:
        raise UserError(f"--from {report}: {folder} was written by another version of this analysis; use that one")

    def find(run: Run, key: str, image: dict[str, Any]) -> dict[str, Any]:
        if "path" not in image:
            return image
        file = folder / image["path"]
        if file.is_file():
            return image | {"path": str(file)}
        logger.warning("--from %s: %s is missing, so no figure shows it", report, file)
        return {name: value for name, value in image.items() if name != "path"} | {LEFT_OUT: True}

    return Runs([_with_images(run, find) for run in runs], unreadable, unfinished_too)


def _with_images(run: Run, change: Callable[[Run, str, dict[str, Any]], dict[str, Any]]) -> Run:
    """Return a run with each of the images that it has logged changed."""
    objects = {
        key: change(run, key, value) if isinstance(value, dict) and value.get("_type") == "image-file" else value
        for key, value in run.objects.items()
    }
    return replace(run, objects=objects)
