"""Where COCO's JSON files and their images lie."""

import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from src.data.listings import IMAGE_SUFFIXES, Listings, is_hidden
from src.data.messages import Notes, first_names, shown
from src.data.records import DataError

# Names of JSON files beside the images of a set, in a folder of the set's name; Roboflow's first.
_NAMES_IN_A_SET = ("_annotations.coco.json", "annotations.json", "instances_default.json", "labels.json", "coco.json")
# Names of files that hold all images, as CVAT, Label Studio, FiftyOne and Roboflow write them.
WHOLE_SETS = ("default", "result", "labels", "_annotations", "annotations", "instances", "coco")


def find_json_files(root: Path) -> dict[str, list[Path]]:
    """Return the JSON files below a folder by the names of their sets.

    They are `annotations/instances_<set>.json`, which excludes others of its set, `annotations/<set>.json`,
    `<set>.json`, and `<set>/_annotations.coco.json` or one of a few other names.
    """
    paths: dict[str, list[Path]] = {}
    for path in [*sorted((root / "annotations").glob("*.json")), *sorted(root.glob("*.json"))]:
        if not is_hidden(path.name):
            paths.setdefault(set_name_of(path), []).append(path)
    with os.scandir(root) as entries:
        folders = sorted(entry.name for entry in entries if entry.is_dir() and entry.name != "annotations")
    for folder in folders:
        names = dict.fromkeys([*_NAMES_IN_A_SET, f"{folder}.json", f"instances_{folder}.json"])
        places = [root / folder / subfolder / name for subfolder in ("", "annotations") for name in names]
        found = [place for place in places if place.is_file()]
        if found:
            paths.setdefault(folder, []).extend(found)
    usual = {name: root / "annotations" / f"instances_{name}.json" for name in paths}
    return {name: [usual[name]] if usual[name] in found else found for name, found in paths.items()}


def set_name_of(path: Path) -> str:
    """Return the set that the name of a JSON file stands for, such as `val2017` for `instances_val2017.json`."""
    stem = path.stem.removesuffix(".coco")
    return re.sub(r"^(instances|annotations|coco)[_-](?=.)|(?<=.)[_-](instances|annotations|coco)$", "", stem)


def find_images(root: Path, json_path: Path, *, set_name: str, file_names: Sequence[str], notes: Notes) -> list[Path]:
    """Return the path of each image.

    Args:
        root: the data set's folder.
        json_path: the file that names the images.
        set_name: the name of its set.
        file_names: of the images, as that file writes them.
        notes: the names of images found in another folder, case or extension are added here.

    Raises:
        DataError: an image is missing, or named twice.
    """
    listings = Listings(IMAGE_SUFFIXES)

    @cache
    def folders_for(prefix: str | None, subfolder: str) -> list[Path]:
        sets = [set_name, *([prefix] if prefix else [])]
        folders = [place / folder for folder in sets for place in (root, root / "images")]
        folders += [root, json_path.parent]
        folders += [place / name for place in (json_path.parent, root / set_name, root) for name in ("images", "data")]
        return [folder / subfolder for folder in dict.fromkeys(folders)]

    paths: list[Path] = []
    missing: list[str] = []
    elsewhere: list[str] = []
    for file_name in file_names:
        subfolder, name = os.path.split(file_name)
        named_folder = re.match(r"COCO_([A-Za-z0-9-]+)_\d+\.", name)
        prefix = named_folder[1] if named_folder else None
        path = listings.find(folders_for(prefix, subfolder), name)
        if path is None:
            path = _find_otherwise(listings, folders_for(prefix, ""), file_name)
            (missing if path is None else elsewhere).append(file_name)
        if path is not None:
            paths.append(path)
    if missing:
        folder = root / ("images" if set_name in WHOLE_SETS else set_name)
        if json_path.parent not in (root, root / "annotations"):
            folder = json_path.parent
        raise DataError(
            f"{len(missing)} of the {len(file_names)} images of {json_path} are missing: {first_names(missing)}; "
            f"put them in {folder}"
        )
    first_of: dict[Path, str] = {}
    for file_name, path in zip(file_names, paths, strict=True):
        if path in first_of:
            raise DataError(
                f"{json_path}: two entries of 'images' are of {path}, {shown(first_of[path])} and {shown(file_name)}; "
                "give each image one entry, with all its annotations"
            )
        first_of[path] = file_name
    notes["found {count} images in another folder, case or extension than file_name gives: {names}"] = elsewhere
    return paths


def _find_otherwise(listings: Listings, folders: Sequence[Path], file_name: str) -> Path | None:
    """Return the path of an image whose name is a URL, or has another machine's folders or another case."""
    # Not urlsplit(), which refuses some addresses.
    text = unquote(re.split("[?#]", file_name)[0]) if re.match(r"[A-Za-z0-9]+://", file_name) else file_name
    parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    for find in (listings.find, listings.find_alike):
        for start in range(len(parts)):
            path = find([folder.joinpath(*parts[start:-1]) for folder in folders], parts[-1])
            if path is not None:
                return path
    return None
