"""Detecting the format of the data in a folder."""

import re
from itertools import islice
from pathlib import Path

from src.data.listings import entries_of, in_any_case
from src.data.messages import first_names
from src.data.records import DataError
from src.data.splits import SET_OF
from src.data.text import read_bytes
from src.utils.quoting import override

# What a folder of each format holds, in the order in which they are looked for.
FORMATS = {
    "voc": "JPEGImages/ and Annotations/, or folders such as VOC2007/ that hold them",
    "coco": "annotations/instances_*.json, train/_annotations.coco.json, or other JSON with COCO's lists",
    "yolo": "data.yaml or another YAML file with names, images/ and labels/*.txt, or classes.txt without any XML",
    "flat": "images with XML files beside them or in folders of their own",
}
VOC_FOLDERS = ("JPEGImages", "Annotations", "ImageSets")
HEAD = 65536  # bytes read of a JSON file: enough for its first keys
MOST_JSON = 20  # JSON files read in a folder, which may hold one for each image
YEAR = re.compile(r"VOC\d{4}")


def detect_format(root: Path) -> str:
    """Return the format of a folder, a key of `FORMATS`.

    The names of files and folders decide, with the first keys of JSON files and the `names` of YAML files.

    Raises:
        DataError: the folder shows no format or several; the message lists what was looked for and what is there.
    """
    evidence = _evidence(root)
    if not evidence:
        nested = {
            str(folder): found
            for folder in entries_of(root)[0]
            if folder.name.casefold() not in SET_OF and (found := _evidence(folder))
        }
        if nested:
            places = [f"{folder} ({', '.join(found)})" for folder, found in nested.items()]
            raise DataError(
                f"dataset.root={root} itself holds no data, but these folders in it do: {first_names(places)}; "
                f"give {override('dataset.root', next(iter(nested)))}"
            )
    if xml := _xml_beside_images(root, has_voc="voc" in evidence):
        evidence["flat"] = str(xml.relative_to(root))
    if not evidence and (names := [path for path in entries_of(root)[1] if _names_classes(path)]):
        evidence["yolo"] = names[0].name
    if len(evidence) == 1:
        return next(iter(evidence))
    if evidence:
        shown = "; ".join(f"{name}: {what}" for name, what in evidence.items())
        raise DataError(
            f"dataset.root={root} may be in several formats ({shown}); choose one with "
            f"{' or '.join(f'dataset.format={name}' for name in evidence)}"
        )
    wanted = "; ".join(f"{name}: {what}" for name, what in FORMATS.items())
    folders, files = entries_of(root)
    there = first_names([f"{folder.name}/" for folder in folders] + [path.name for path in files], 12) or "nothing"
    raise DataError(
        f"dataset.root={root} is in no format that is known. Looked for {wanted}. Found {there}. Correct dataset.root, "
        "or force a format with dataset.format=voc, coco, yolo or flat"
    )


def _evidence(root: Path) -> dict[str, str]:
    """Return what shows that a folder is in VOC, COCO or YOLO: by format, the path of a file or folder in it."""
    folders, files = entries_of(root)
    evidence = {}
    for folder in (root, *(folder for folder in folders if YEAR.fullmatch(folder.name))):
        if (folder / "JPEGImages").is_dir() and (folder / "Annotations").is_dir():
            evidence["voc"] = f"{(folder / 'JPEGImages').relative_to(root)}/"
    splits = [folder for folder in folders if folder.name.casefold() in SET_OF]
    in_splits = [folder / "annotations" for folder in splits if (folder / "annotations").is_dir()]
    for folder in (root, *folders, *in_splits):
        json_files = (path for path in entries_of(folder)[1] if path.suffix == ".json")
        if coco := next((path for path in islice(json_files, MOST_JSON) if _is_coco(path)), None):
            evidence.setdefault("coco", str(coco.relative_to(root)))
    yaml_files = [path for path in files if path.suffix in (".yaml", ".yml") and _has_names(path)]
    labels = [in_any_case(folder / "labels") for folder in (root, *splits) if in_any_case(folder / "images").is_dir()]
    labels = [folder for folder in labels if folder.is_dir() and _first(folder, ".txt", depth=1)]
    if yaml_files or labels:
        evidence["yolo"] = str([*yaml_files, *labels][0].relative_to(root))
    return evidence


def _xml_beside_images(root: Path, has_voc: bool) -> Path | None:
    """Return an XML file in a folder or at most two below it; with `has_voc` none in the folders of VOC's layout."""
    folders, files = entries_of(root)
    if has_voc:
        folders = [folder for folder in folders if not (folder.name in VOC_FOLDERS or YEAR.fullmatch(folder.name))]
    beside = (path for path in files if path.suffix.lower() == ".xml")
    below = (_first(folder, ".xml", depth=1) for folder in folders)
    return next(filter(None, (*beside, *below)), None)


def _first(folder: Path, suffix: str, depth: int) -> Path | None:
    """Return a file with this suffix in a folder or at most `depth` below it, None if there is none."""
    folders, files = entries_of(folder)
    found = next((path for path in files if path.suffix.lower() == suffix), None)
    below = (_first(subfolder, suffix, depth - 1) for subfolder in folders if depth)
    return found or next(filter(None, below), None)


def _is_coco(path: Path) -> bool:
    """Return whether a JSON file is COCO's, by its name or by the first of its keys."""
    if path.name == "_annotations.coco.json" or re.fullmatch(r"instances_.+\.json", path.name):
        return True
    head = read_bytes(path, HEAD)
    text = head.replace(b"\0", b"")  # also of UTF-16
    keys = set(re.findall(rb'"(images|annotations|categories)"\s*:\s*\[', text))
    # CreateML has a list of images with their annotations. Label Studio puts a notes.json with nothing but categories
    # beside YOLO's labels.
    return text.find(b"[") > text.find(b"{") and bool(keys) and (keys != {b"categories"} or len(head) == HEAD)


def _names_classes(path: Path) -> bool:
    return path.name == "classes.txt" or path.suffix == ".names"


def _has_names(path: Path) -> bool:
    """Return whether a YAML file, in UTF-8 or UTF-16, has a key `names` at its top level."""
    data = read_bytes(path).replace(b"\0", b"")
    return re.search(rb"^(\xef\xbb\xbf|\xff\xfe)?[\"']?names[\"']?\s*:", data, re.MULTILINE) is not None
