"""Folders in YOLO's layouts: their data.yaml, the names of their classes, and where the images of each set lie."""

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from src.data.listings import entries_of, in_any_case
from src.data.messages import first_names, shown
from src.data.records import DataError
from src.data.splits import SYNONYMS, find_set
from src.data.text import read_lines, read_text
from src.utils.text import is_text

logger = logging.getLogger(__name__)

ALL = "all"  # the set of a folder whose images are in no sets
_NULL = ("", "~", "null", "Null", "NULL")  # a key with one of these might as well be missing
_WHOLE = re.compile("[0-9]{1,9}")
_SET_NAMES = [name for group in SYNONYMS.values() for name in group]


@dataclass(frozen=True)
class YoloFolder:
    """A folder in YOLO's layout."""

    root: Path
    names: dict[int, str] | None  # of classes by index; None where no file gives them
    keypoint_numbers: int  # how many numbers of keypoints follow a box in each line
    sets: dict[str, list[Path]]  # folders of images, and lists of them (.txt)
    absent: dict[str, str]  # the entry in data.yaml of a set whose folder or list does not exist
    base: Path  # the `path` of data.yaml, to which its entries and lists may be relative


class _Loader(yaml.BaseLoader):
    """Reads every scalar as text, so that the names `no` and `007` stay what they are; refuses keys that come twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key is no text", problem_mark=key.start_mark)
            if key.value in keys:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value} comes twice", problem_mark=key.start_mark)
            keys.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def read_folder(root: Path) -> YoloFolder:
    """Return what a folder in YOLO's layout holds.

    Its sets are the entries of its data.yaml, and the folders `images/<set>`, `<set>/images` and `<set>` and lists
    `<set>.txt`. A folder without any has one set, `all`.

    Raises:
        DataError: data.yaml is defective, or there is no image; the message names the file.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; dataset.root must name the folder of the data set")
    path, content = _read_yaml(root)
    names = _names(path, content) if path else _names_from_lists(root)
    if path and names:
        _warn_of_another_order(root, path, list(names.values()))
    base = root / content["path"] if isinstance(content.get("path"), str) else root
    usual = _usual_sets(root)
    sets: dict[str, list[Path]] = {}
    absent: dict[str, str] = {}
    for name in [key for key in content if key in _SET_NAMES]:
        value = content[name]
        entries = [item for item in (value if isinstance(value, list) else [value]) if item]
        if not all(isinstance(item, str) for item in entries):
            raise DataError(f"{path}: {name} is {shown(value)}; it should be a folder, a list of them, or a list")
        places = [_place(root, base, entry) for entry in entries]
        found = [place for place in places if place is not None]
        other = find_set(name, usual)
        if entries and len(found) == len(entries):
            sets[name] = found
        elif entries and other is not None:
            logger.warning("%s: %s is %s, which does not exist; taken from %s", path, name, value, usual[other][0])
            sets[name] = usual[other]
        elif entries:
            absent[name] = str(value)
    # Not a folder test that data.yaml gives as val: it would be trained on and tested on.
    given = {place for places in sets.values() for place in places}
    sets |= {
        name: places for name, places in usual.items() if find_set(name, sets) is None and given.isdisjoint(places)
    }
    if not sets:
        sets = {ALL: [_place_of_all(root)]}
    return YoloFolder(root, names, _keypoint_numbers(content), sets=sets, absent=absent, base=base)


def _read_yaml(root: Path) -> tuple[Path | None, dict[str, Any]]:
    """Return the path and content of a folder's data.yaml: the YAML file with names of classes, whatever its name."""
    contents: dict[Path, dict[str, Any]] = {}
    fault: DataError | None = None
    for path in sorted(path for suffix in ("yaml", "yml") for path in root.glob(f"[!.]*.{suffix}")):
        try:
            content = yaml.load(read_text(path), _Loader)  # noqa: S506  # a loader that builds nothing but text
        # Not YAMLError alone: lists can be nested too deeply, and escapes be of no character.
        except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
            fault = DataError(f"{path} cannot be read as YAML ({' '.join(str(error).split())}); correct it")
            if path.stem.lower() == "data":
                raise fault from error
            continue
        if isinstance(content, dict) and not content.keys().isdisjoint({"names", "nc", "train"}):
            contents[path] = {key: value for key, value in content.items() if value not in _NULL}
    with_names = [path for path in contents if "names" in contents[path]]
    chosen = [path for path in with_names if path.stem.lower() == "data"] or with_names or list(contents)
    if len(chosen) > 1:
        raise DataError(f"{first_names([str(path) for path in chosen])} may all describe the data; keep one")
    if not chosen and fault is not None:
        raise fault
    return (chosen[0], contents[chosen[0]]) if chosen else (None, {})


def _names(path: Path, content: dict[str, Any]) -> dict[int, str]:
    """Return the names of classes in a data.yaml, by index."""
    value = content.get("names")
    if isinstance(value, list):
        names = dict(enumerate(value))
    elif isinstance(value, dict) and all(_WHOLE.fullmatch(key) for key in value):
        names = {int(key): value[key] for key in sorted(value, key=int)}
        if len(names) < len(value):
            raise DataError(f"{path}: an index of names comes twice; keep one")
    else:
        raise DataError(f"{path} gives no names of the classes; write them as names: [first, second]")
    if not names:
        raise DataError(f"{path}: its names are empty; write them as names: [first, second]")
    _check_names(path, names)
    count = content.get("nc", str(len(names)))
    if str(count).strip() != str(len(names)):
        raise DataError(f"{path}: nc is {shown(count)}, but there are {len(names)} names; correct one of them")
    return {index: name.strip() for index, name in names.items()}


def _check_names(path: Path, names: dict[int, Any]) -> None:
    for index, name in names.items():
        if not isinstance(name, str) or not name.strip() or not is_text(name):
            raise DataError(f"{path}: the name of class {index} is {shown(repr(name))}; write its name")
    texts = [name.strip() for name in names.values()]
    repeated = sorted({name for name in texts if texts.count(name) > 1})
    if repeated:
        raise DataError(f"{path}: several classes have the name {first_names(repeated)}; give each its own")


def _names_from_lists(root: Path) -> dict[int, str] | None:
    """Return the names in the folder's `classes.txt` or `obj.names`, a line each; None where there is none."""
    names_of = {path: names for path in _lists_of_names(root) if (names := _listed_names(path))}
    if not names_of:
        return None
    path, names = next(iter(names_of.items()))
    for other in names_of:
        if names_of[other] != names:
            raise DataError(f"{path} and {other} list different classes; keep one")
    _check_names(path, dict(enumerate(names)))
    return dict(enumerate(names))


def _lists_of_names(root: Path) -> list[Path]:
    below = (path for depth in ("", "*/", "*/*/") for path in root.glob(f"{depth}classes.txt"))
    return sorted([*root.glob("[!.]*.names"), *below])


def _warn_of_another_order(root: Path, path: Path, names: list[str]) -> None:
    """Log that an annotation program's list has the names of data.yaml in another order."""
    for other in _lists_of_names(root):
        try:
            listed = read_lines(other)
        except DataError:
            continue  # not needed
        if listed != names and sorted(listed) == sorted(names):
            text = "%s lists the names of %s in another order, %s; the labels are read by the order of the latter"
            logger.warning(text, other, path, first_names(listed))


def _listed_names(path: Path) -> list[str]:
    """Return the names of a list of classes, where the number of its line is the index of a name."""
    text = read_text(path).rstrip()
    # Not splitlines(), which would take a name apart at some other characters.
    names = [line.strip() for line in re.split(r"\r\n|[\r\n]", text)] if text else []
    if "" in names:
        raise DataError(
            f"{path}: line {names.index('') + 1} is empty, so that the indexes of the names after it are in doubt; "
            "write a name there, or delete the line if the labels do not count it"
        )
    return names


def _keypoint_numbers(content: dict[str, Any]) -> int:
    shape = content.get("kpt_shape")
    if isinstance(shape, list) and len(shape) == 2 and all(_WHOLE.fullmatch(str(item)) for item in shape):
        return int(shape[0]) * int(shape[1])
    return 0


def _place(root: Path, base: Path, entry: str) -> Path | None:
    """Return the folder or list that an entry of data.yaml means; None if it does not exist.

    A place below `root`, which the user names, is preferred to others that the file names. Roboflow's
    `../train/images` is relative to a folder beside data.yaml that is not there.
    """
    entry = entry.strip().replace("\\", "/")
    inside = entry
    while inside.startswith(("../", "./")):
        inside = inside.split("/", 1)[1]
    places = [
        place
        for place in map(in_any_case, (base / entry, root / entry, root / inside))
        if place.is_dir() or (place.is_file() and place.suffix.lower() == ".txt")
    ]
    if not places:
        return None
    place = min(places, key=lambda place: not _is_below(place, root))
    if not _is_below(place, root):
        logger.warning("%s: data.yaml names %s, outside of dataset.root", root, place)
    return place


def _is_below(path: Path, root: Path) -> bool:
    """Return whether a path leads to a place below a folder, wherever links in it lead."""
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(root))


def _usual_sets(root: Path) -> dict[str, list[Path]]:
    """Return the sets that usual names of folders and lists show, without data.yaml."""
    sets: dict[str, list[Path]] = {}
    for folder in _folders(in_any_case(root / "images")):
        sets[folder.name] = [folder]
    for folder in _folders(root):
        if (images := in_any_case(folder / "images")).is_dir():
            sets.setdefault(folder.name, [images])
        elif folder.name.lower() in _SET_NAMES:
            sets.setdefault(folder.name, [folder])
    for path in sorted(root.glob("*.txt")):
        if path.stem.lower() in [*_SET_NAMES, "trainval"]:
            sets.setdefault(path.stem, [path])
    return sets


def _folders(folder: Path) -> list[Path]:
    return entries_of(folder)[0] if folder.is_dir() else []


def _place_of_all(root: Path) -> Path:
    places = (in_any_case(root / name) for name in ("images", "obj_train_data"))
    return next((place for place in places if place.is_dir()), root)
