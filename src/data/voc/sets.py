"""Sets of images with XML files: which files a split such as `2007_trainval+2012_trainval` names."""

import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from src.data.listings import IMAGE_SUFFIXES
from src.data.messages import first_names, look_alike
from src.data.records import DataError
from src.data.splits import HASH_DIGITS, SET_OF, dealt_to, warn_of_train_alone
from src.data.text import read_lines
from src.data.voc.annotation import read_root
from src.data.voc.files import KINDS, Listing, list_flat, list_voc

logger = logging.getLogger(__name__)

_FLAGGED = re.compile(r"(.*\S)\s+(-1|0|1)")  # a line of a list of one class


@dataclass(frozen=True)
class VocFiles:
    """The files of one image."""

    stem: str  # its name: the path below its folder, without suffix
    image: Path
    xml: Path


def list_files(root: Path, split: str, *, flat: bool = False) -> list[VocFiles]:
    """Return the files of the images of a split, in the order of their set lists; see `read_voc` for splits.

    Args:
        root: the data set's folder.
        split: set names joined by +.
        flat: images and XML files stand beside each other, or in folders of their own, instead of in VOC's layout.

    Raises:
        DataError: a folder, list or file is missing, or an image is listed twice; the message names it.
    """
    chosen = _choose(root, split, flat=flat, needs_xml=True)
    return [VocFiles(stem, listing.images[stem], listing.xmls[stem]) for listing, stem in chosen]


def list_images(root: Path, split: str, *, flat: bool) -> tuple[dict[str, Path], bool]:
    """Return the images of a split by name, in the order of their set lists, and whether each has an XML file.

    Arguments and errors are those of :func:`list_files`, but for XML files, which may be missing.
    """
    chosen = _choose(root, split, flat=flat, needs_xml=False)
    annotated = all(stem in listing.xmls for listing, stem in chosen)
    return {stem: listing.images[stem] for listing, stem in chosen}, annotated


def _choose(root: Path, split: str, *, flat: bool, needs_xml: bool) -> list[tuple[Listing, str]]:
    """Return the names of a split's images, each with the listing that has its files."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; dataset.root must name the folder of the data set")
    chosen: list[tuple[Listing, str]] = []
    source_of: dict[str, str] = {}
    list_folder: Callable[[Path], Listing] = list_flat if flat else partial(list_voc, needs_xml=needs_xml)
    listings: dict[Path, Listing] = {}
    warned: set[Path] = set()
    for item in split.split("+"):
        folder, set_name = (root, item) if flat else _folder_of(root, item)
        if folder not in listings:
            listings[folder] = list_folder(folder)
        listing = listings[folder]
        stems, source, kind = _stems(listing, set_name, needs_xml)
        if kind != "list" and folder not in warned:
            warned.add(folder)
            _warn_without_list(listing, kind)
        if not stems:
            raise DataError(f"{source} lists no image; add images, or name another split")
        for stem in stems:
            if stem in source_of:
                raise DataError(
                    f"image {stem} is listed twice in split {split}, by {source_of[stem]} and by {source}; "
                    "delete one of the two lines, or give the images different names"
                )
            source_of[stem] = source
            chosen.append((listing, stem))
    return chosen


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
                "or VOCdevkit with its folders such as VOC2007; dataset.format=auto finds out other layouts"
            )
        raise DataError(f"{root} has no folder JPEGImages; {hint}")
    return root, item


def _stems(listing: Listing, set_name: str, needs_xml: bool) -> tuple[list[str], str, str]:
    """Return the names of a set's images, what lists them, for messages, and its kind: list, all, folder or hash."""
    folder, lists = listing.folder, listing.lists
    of_classes = _sets_of_classes(lists)

    def listed(name: str) -> tuple[list[str], str]:
        if name in lists:
            return _listed(listing, lists[name], needs_xml), str(lists[name])
        paths = of_classes[name]
        logger.info(
            "%s: %s is every image that these lists name: %s", folder, name, first_names([path.name for path in paths])
        )
        every = (stem for path in paths for stem in _listed(listing, path, needs_xml, whole_set=True))
        return [*dict.fromkeys(every)], str(list_folder / f"*_{name}.txt")

    set_names = lists.keys() | of_classes.keys()
    list_folder = next((path.parent for path in lists.values()), folder / "ImageSets" / "Main")
    if set_name in set_names:
        return *listed(set_name), "list"
    if set_name == "trainval" and "train" in set_names:
        names = [name for name in ("train", "val", "valid", "validation") if name in set_names][:2]
        if len(names) == 1:
            warn_of_train_alone(str(list_folder), "train")
        parts = [listed(name) for name in names]
        stems = [stem for of_part, _ in parts for stem in of_part]
        return _sorted(stems, listing), " and ".join(source for _, source in parts), "list"
    if all(name == "default" or name.endswith("_default") for name in lists):
        lists = {}  # CVAT writes these, of all images and by class, where images are in no sets
    if set_name == "all":
        return _annotated(listing), f"{folder} (all)", "all"
    problem = f"{list_folder} has no list {set_name}.txt"
    if not lists and (splits := {split for stem in listing.images if (split := listing.split_of(stem))}):
        wanted = {"train", "val"} if set_name == "trainval" else {SET_OF.get(set_name.casefold(), "no set")}
        if set_name == "trainval" and "val" not in splits:
            warn_of_train_alone(str(folder), "train")
        if stems := [stem for stem in _annotated(listing) if listing.split_of(stem) in wanted]:
            return _sorted(stems, listing), f"{folder} (folders of {set_name})", "folder"
        set_names, problem = splits, f"{folder} has no annotated image in a folder {set_name}"
    elif not lists:
        if set_name in HASH_DIGITS:
            stems = [stem for stem in _annotated(listing) if dealt_to(listing.images[stem], [set_name])]
            return stems, f"{folder} (which has no lists of sets in ImageSets/Main), dealt to {set_name},", "hash"
        set_names = set(HASH_DIGITS)
    # Shortest first, so that train and val come before VOC's sixty lists of single classes.
    known = first_names(sorted(set_names, key=lambda name: (len(name), name)), 12)
    raise DataError(f"{problem}; the sets are {known}, and all for every image")


def _sets_of_classes(lists: dict[str, Path]) -> dict[str, list[Path]]:
    """Return the lists of single classes by their set, such as cat_train.txt; none where a whole set has a list.

    VoTT writes no others. Each names all images of the set, with a flag, which a list such as fold1_train.txt lacks.
    """
    sets: dict[str, list[Path]] = {}
    if not lists.keys().isdisjoint({*SET_OF, "trainval"}):
        return sets
    for name, path in lists.items():
        of_class, _, set_name = name.rpartition("_")
        if of_class and set_name in SET_OF and all(map(_FLAGGED.fullmatch, read_lines(path))):
            sets.setdefault(set_name, []).append(path)
    return sets


def _annotated(listing: Listing) -> list[str]:
    """Return the names of the images that have an XML file, for a set without a list.

    Raises:
        DataError: an XML file has no image.
    """
    without_image = [stem for stem in listing.xmls if stem not in listing.images]
    if without_image:
        for stem in without_image[:5]:
            read_root(listing.xmls[stem])  # its error is the better one for a file of another format
        raise DataError(
            f"{listing.folder}: {len(without_image)} of {len(listing.xmls)} XML files have no image: "
            f"{_names(without_image, listing, listing.images)}; add the images, or delete the XML files"
        )
    return [stem for stem in listing.images if stem in listing.xmls]


def _sorted(stems: list[str], listing: Listing) -> list[str]:
    """Sort names by the images' file names, so that sets that are joined have the order they have in other formats."""
    return sorted(stems, key=lambda stem: listing.images[stem].name)


def _warn_without_list(listing: Listing, kind: str) -> None:
    """Count the images that a set without a list leaves out."""
    folder, images = listing.folder, listing.images
    if kind == "hash":
        logger.warning(
            "%s has no lists of sets in ImageSets/Main: its images are dealt to train, val and test "
            "(7 : 1 : 2) by a hash of their names",
            folder,
        )
    left_out = {
        "images have no XML file, count as not annotated": [images[stem] for stem in images.keys() - listing.xmls],
        "files are no images of a format that is read": listing.others.values(),
        "images stand outside the folders of the splits": [
            path for stem, path in images.items() if kind == "folder" and not listing.split_of(stem)
        ],
    }
    for reason, paths in left_out.items():
        if paths:
            names = sorted(str(path.relative_to(folder)) for path in paths)
            logger.warning("%s: %d %s and are left out: %s", folder, len(names), reason, first_names(names))


def _listed(listing: Listing, path: Path, needs_xml: bool, *, whole_set: bool = False) -> list[str]:
    """Return the names of the images on a list.

    A line is an image's name, or its path with or without suffix and folders. In VOC's lists of one class a flag
    follows, 1, 0 (only difficult objects) or -1; images with -1, which do not hold the class, are left out, unless
    `whole_set` asks for those of all classes.

    Raises:
        DataError: a listed image is missing, or with `needs_xml` its XML file.
    """
    lines = read_lines(path)
    flags = [_FLAGGED.fullmatch(line) for line in lines]
    stems, without_class = [], 0
    for line, flagged in zip(lines, flags, strict=True):
        stem = _find(listing, line)
        if stem and flagged and all(flags) and _find(listing, flagged[1]):
            raise DataError(
                f"{path}: {line!r} may mean the image {line!r}, or {flagged[1]!r} with the flag {flagged[2]}; write "
                "the images' names with their suffix"
            )
        if stem is None and flagged:
            if flagged[2] == "-1" and not whole_set:
                without_class += 1
                continue
            line = flagged[1]
            stem = _find(listing, line)
        stems.append(stem or line)
    if without_class:
        logger.info(
            "%s: %d of %d images are flagged -1, do not hold the class and are left out",
            path,
            without_class,
            len(lines),
        )
    for kind, paths in (("image", listing.images), ("XML file", listing.xmls)):
        missing = [stem for stem in stems if stem not in paths]
        if missing and (kind == "image" or needs_xml):
            subfolder = {"image": "JPEGImages", "XML file": "Annotations"}[kind]
            folder = listing.folder / subfolder if (listing.folder / subfolder).is_dir() else listing.folder
            raise DataError(
                f"{folder} has no {kind} for {len(missing)} of the {len(stems)} images that "
                f"{path} lists: {_names(missing, listing, paths)}; add them, or take them off the list"
            )
    return stems


def _find(listing: Listing, line: str) -> str | None:
    """Return the name of the image that a line of a list means, None if there is no such file."""
    parts = PurePosixPath(_without_suffix(line.replace("\\", "/"))).parts
    candidates = [line, *("/".join(parts[start:]) for start in range(len(parts)))]
    parts = (*(part for part in parts[:-1] if part.casefold() not in KINDS), *parts[-1:])
    candidates += ["/".join(parts[start:]) for start in range(len(parts))]
    return next((name for name in candidates if name in listing.images or name in listing.xmls), None)


def _without_suffix(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in (*IMAGE_SUFFIXES, ".xml") else name


def _names(missing: Sequence[str], listing: Listing, paths: dict[str, Path]) -> str:
    """Return the first missing names, and files that may be what is meant by the first five."""
    similar = {look_alike(stem): path for stem, path in paths.items()}
    meant = []
    for name in map(_without_suffix, missing[:5]):
        if name in listing.others:
            meant.append(f"{listing.others[name].name} is not in a format that is read: convert it to JPEG or PNG")
        elif look_alike(name) in similar:
            meant.append(f"{similar[look_alike(name)].name} differs only in upper case or in how accents are written")
    return first_names(missing) + (f" ({'; '.join(meant)})" if meant else "")
