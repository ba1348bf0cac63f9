"""The sets of PASCAL VOC's layout: which images and XML files a split such as `2007_trainval+2012_trainval` names."""

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from src.data.messages import first_names
from src.data.records import DataError

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
# The last digit of the hash of an image's name decides its split where a folder has no lists.
HASH_DIGITS: dict[str, Sequence[int]] = {
    "test": (0, 1),
    "val": (2,),
    "train": range(3, 10),
    "trainval": range(2, 10),
}


@dataclass(frozen=True)
class VocFiles:
    """The files of one image."""

    stem: str
    image: Path
    xml: Path


def list_files(root: Path, split: str) -> list[VocFiles]:
    """Return the files of the images of a split, in the order of their set lists; see `read_voc` for splits.

    Raises:
        DataError: a folder, list or file is missing, or an image is listed twice; the message names it.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; dataset.root must name the folder of the data set")
    files: list[VocFiles] = []
    source_of: dict[str, str] = {}
    listings: dict[Path, _Listing] = {}
    for item in split.split("+"):
        folder, set_name = _folder_of(root, item)
        if folder not in listings:
            listings[folder] = _list_folder(folder)
            if not listings[folder].lists and set_name != "all":
                logger.warning(
                    "%s has no lists in ImageSets/Main: its images are dealt to train, val and test "
                    "(7 : 1 : 2) by a hash of their names",
                    folder,
                )
        listing = listings[folder]
        stems, source = _stems(listing, set_name)
        if not stems:
            raise DataError(f"{source} lists no image")
        _check_files(listing, stems, source)
        for stem in stems:
            if stem in source_of:
                raise DataError(
                    f"image {stem} is listed twice in split {split}, by {source_of[stem]} and by {source}; "
                    "the names of the images must differ"
                )
            source_of[stem] = source
            files.append(VocFiles(stem, listing.images[stem], listing.xmls[stem]))
    return files


@dataclass(frozen=True)
class _Listing:
    """The files of a folder in VOC's layout, by stem."""

    folder: Path
    images: dict[str, Path]
    xmls: dict[str, Path]
    lists: dict[str, Path]


def _folder_of(root: Path, item: str) -> tuple[Path, str]:
    """Return the folder in VOC's layout that an item of a split belongs to, and the name of its set there."""
    year_and_set = re.fullmatch(r"(\d{4})_(.+)", item)
    if year_and_set and (root / f"VOC{year_and_set[1]}").is_dir():
        return root / f"VOC{year_and_set[1]}", year_and_set[2]
    if not (root / "JPEGImages").is_dir():
        years = sorted(folder.name for folder in root.glob("VOC[0-9][0-9][0-9][0-9]"))
        if years:
            hint = f"it holds {', '.join(years)}: write a split such as {years[0][3:]}_trainval instead of {item!r}"
        else:
            hint = (
                "dataset.root must name a folder that holds JPEGImages and Annotations, "
                "or VOCdevkit with its folders such as VOC2007"
            )
        raise DataError(f"{root} has no folder JPEGImages; {hint}")
    return root, item


def _list_folder(folder: Path) -> _Listing:
    """Return the files of a folder, from one listing each: a query per file is slow on a cluster's file system."""
    images = _files_by_stem(folder, "JPEGImages", IMAGE_SUFFIXES)
    xmls = _files_by_stem(folder, "Annotations", (".xml",))
    lists = {path.stem: path for path in (folder / "ImageSets" / "Main").glob("*.txt")}
    return _Listing(folder, images=images, xmls=xmls, lists=lists)


def _files_by_stem(folder: Path, subfolder: str, suffixes: tuple[str, ...]) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    if not (folder / subfolder).is_dir():
        raise DataError(f"{folder} has no folder {subfolder}; is it in PASCAL VOC's layout?")
    with os.scandir(folder / subfolder) as entries:
        for name in sorted(entry.name for entry in entries):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() not in suffixes:
                continue
            if stem in paths:
                raise DataError(f"{folder / subfolder} has both {paths[stem].name} and {name}; keep one")
            paths[stem] = folder / subfolder / name
    return paths


def _stems(listing: _Listing, set_name: str) -> tuple[list[str], str]:
    """Return the names of a set's images, and what lists them, for messages."""
    folder, images, lists = listing.folder, listing.images, listing.lists
    if set_name == "all":
        return list(images), str(folder / "JPEGImages")
    if set_name in lists:
        lines = lists[set_name].read_text(encoding="utf-8-sig").splitlines()
        lines = [line.strip() for line in lines if line.strip()]
        # Lists of one class have a flag after the name; but a name may itself hold spaces.
        return [line if line in images else line.split()[0] for line in lines], str(lists[set_name])
    if not lists and set_name in HASH_DIGITS:
        stems = [stem for stem in images if crc32(stem.encode()) % 10 in HASH_DIGITS[set_name]]
        return stems, f"{folder} (which has no lists in ImageSets/Main), dealt to {set_name},"
    # Shortest first, so that train and val come before VOC's sixty lists of single classes.
    set_names = sorted(lists or HASH_DIGITS, key=lambda name: (len(name), name))
    raise DataError(
        f"{folder / 'ImageSets' / 'Main'} has no list {set_name}.txt; the sets are {first_names(set_names, 12)}, "
        "and all for every image"
    )


def _check_files(listing: _Listing, stems: list[str], source: str) -> None:
    """Raise a DataError if an image of a set has no file or no annotation."""
    for kind, subfolder, paths in (
        ("image", "JPEGImages", listing.images),
        ("XML file", "Annotations", listing.xmls),
    ):
        missing = [stem for stem in stems if stem not in paths]
        if missing:
            raise DataError(
                f"{listing.folder / subfolder} has no {kind} for {len(missing)} of the {len(stems)} images that "
                f"{source} lists: {first_names(missing)}; add them, or take them off the list"
            )
