"""The images of a set of a folder in YOLO's layout, and their label files."""

import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from src.data.listings import IMAGE_SUFFIXES, Listings, in_any_case, is_hidden, walk
from src.data.messages import Notes, first_names
from src.data.records import DataError
from src.data.text import read_lines
from src.data.yolo.files import YoloFolder
from src.utils.text import is_text


@dataclass(frozen=True)
class YoloImage:
    """An image and its label file."""

    path: Path
    labels: Path | None  # None where there is no file: an image without objects


def find_images(folder: YoloFolder, set_name: str, notes: Notes) -> list[YoloImage]:
    """Return the images of a set: those in its folders, sorted by name, or those of its lists, in their order.

    Args:
        folder: the data set.
        set_name: one of `folder.sets`.
        notes: images without label files and label files without images are added here.

    Raises:
        DataError: there is no image, an image or every label file is missing, or two images have one label file.
    """
    listings = Listings((*IMAGE_SUFFIXES, ".txt"))
    images: list[Path] = []
    is_list = False
    for place in folder.sets[set_name]:
        is_list |= place.is_file()
        images += _listed_images(folder, place, listings) if place.is_file() else _images_in(place)
    places = first_names([str(place) for place in folder.sets[set_name]])
    if not images:
        raise DataError(
            f"{places} has no images ({', '.join(sorted(IMAGE_SUFFIXES))}); correct dataset.root or data.yaml"
        )
    not_text = [str(image) for image in images if not is_text(image.name)]
    if not_text:
        raise DataError(f"{places} has files whose names are not UTF-8: {first_names(not_text)}; rename them")
    known: dict[Path, Path] = {}

    @cache
    def label_folders(of_images: Path) -> list[Path]:
        return [in_any_case(place, known) for place in _label_folders(folder, of_images)]

    found = [YoloImage(image, _find_labels(label_folders(image.parent), image, listings)) for image in images]
    without = [image.path.name for image in found if image.labels is None]
    if len(without) == len(found):
        looked_in = first_names([str(place) for place in label_folders(found[0].path.parent)])
        raise DataError(
            f"none of the {len(found)} images of {places} has a label file; {found[0].path.stem}.txt was looked for in "
            f"{looked_in}"
        )
    notes.setdefault("{count} images have no label file, and so no objects: {names}", []).extend(without)
    image_of: dict[Path, Path] = {}
    for image in found:
        if image.labels is not None and image_of.setdefault(image.labels, image.path) != image.path:
            raise DataError(f"{image_of[image.labels]} and {image.path} both have the labels {image.labels}; keep one")
    if not is_list:
        strays = [
            name
            for label_folder in sorted({path.parent for path in image_of})
            for name in sorted(listings.names(label_folder))
            if name.lower().endswith(".txt") and name != "classes.txt" and label_folder / name not in image_of
            if not is_hidden(name)
        ]
        notes.setdefault("{count} label files have no image: {names}", []).extend(strays)
    return found


def _images_in(folder: Path) -> list[Path]:
    """Return the images in a folder and its subfolders, sorted by name."""
    return sorted(folder / name for name in walk(folder) if name.lower().endswith(tuple(IMAGE_SUFFIXES)))


def _listed_images(folder: YoloFolder, path: Path, listings: Listings) -> list[Path]:
    """Return the images that a list names, a line each."""
    images: dict[Path, str] = {}
    missing = []
    lines = read_lines(path)
    for line in lines:
        image = _listed_image(folder, path, line, listings)
        if image is None:
            missing.append(line)
        elif image in images:
            raise DataError(f"{path} lists {image} twice, as {images[image]!r} and {line!r}; keep one line")
        else:
            images[image] = line
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(lines)} images that {path} lists are missing: {first_names(missing)}; add "
            "them, or take them off the list"
        )
    return list(images)


def _listed_image(folder: YoloFolder, list_path: Path, line: str, listings: Listings) -> Path | None:
    """Return the image that a line of a list means: relative to the list, `path` or the root, or by its last parts."""
    text = line.replace("\\", "/")
    bases = [list_path.parent, folder.base, folder.root]
    for name in (line, text):
        subfolder, file_name = os.path.split(name)
        image = listings.find([base / subfolder for base in bases], file_name)
        if image is not None:
            return image
    parts = [part for part in text.split("/") if part not in ("", ".", "..")]
    for find in (listings.find, listings.find_alike):
        for start in range(len(parts)):
            image = find([base.joinpath(*parts[start:-1]) for base in bases], parts[-1])
            if image is not None:
                return image
    return None


def _find_labels(folders: list[Path], image: Path, listings: Listings) -> Path | None:
    name = f"{image.stem}.txt"
    return listings.find(folders, name) or listings.find_alike(folders, name)


def _label_folders(folder: YoloFolder, here: Path) -> list[Path]:
    """Return the folders in which the labels of the images in a folder are looked for.

    They are the folder with `labels` for the last `images` in its path, `labels` in it or beside it, and itself.
    """
    start = len(folder.root.parts) if here.is_relative_to(folder.root) else 1
    folders = []
    for index in range(len(here.parts) - 1, start - 1, -1):
        if re.fullmatch("images|jpegimages", here.parts[index].lower()):
            folders.append(Path(*here.parts[:index], "labels", *here.parts[index + 1 :]))
            break
    return [*folders, here / "labels", here.parent / "labels" / here.name, here]
