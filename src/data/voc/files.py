"""The images, XML files and set lists of a folder, in PASCAL VOC's layout or flat."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from src.data.listings import IMAGE_SUFFIXES, is_hidden, walk
from src.data.records import DataError
from src.data.splits import SET_OF

# Suffixes of files that are no images. Any other file may be an image in an unknown format: a warning names it.
NOT_IMAGES = frozenset(
    {".xml", ".txt", ".md", ".json", ".csv", ".yaml", ".yml", ".names", ".pbtxt", ".html", ".pdf"}
    | {".py", ".ipynb", ".sh", ".mat", ".pkl", ".log", ".cache", ".zip", ".tar", ".gz", ".tfrecord"}
)
# Folders that separate images from XML files: not part of an image's name in a flat folder.
KINDS = ("images", "image", "imgs", "img", "jpegimages", "annotations", "annotation", "labels", "xml", "xmls")


@dataclass(frozen=True)
class Listing:
    """The files of a folder. Images and XML files are found by name: their path without suffix, such as `train/a`."""

    folder: Path
    images: dict[str, Path]
    xmls: dict[str, Path]
    others: dict[str, Path]  # files among the images, perhaps images in a format that is not read
    lists: dict[str, Path]  # by name of the set

    def split_of(self, name: str) -> str | None:
        """Return train, val or test, if an image stands in a folder of that name or of one like it."""
        parts = PurePosixPath(name).parts[:-1]
        return next((SET_OF[part.casefold()] for part in parts if part.casefold() in SET_OF), None)


def list_voc(folder: Path, *, needs_xml: bool) -> Listing:
    """Return the files of a folder with JPEGImages and Annotations.

    Raises:
        DataError: one of these cannot be read or is missing, Annotations only with `needs_xml`; or two images have one
            name.
    """
    for subfolder in ("JPEGImages", "Annotations") if needs_xml else ("JPEGImages",):
        if not (folder / subfolder).is_dir():
            raise DataError(f"{folder} has no folder {subfolder}; is it in PASCAL VOC's layout?")
    beside_images = _by_name(folder / "JPEGImages", drop=())
    annotations = folder / "Annotations"
    xmls = _by_name(annotations, drop=())["xml"] if needs_xml or annotations.is_dir() else {}
    return Listing(folder, beside_images["image"], xmls, beside_images["other"], _lists(folder))


def list_flat(folder: Path) -> Listing:
    """Return the files of a folder whose images and XML files stand beside each other or in folders of their own.

    Raises:
        DataError: a folder cannot be read, or two images have one name.
    """
    files = _by_name(folder, drop=KINDS)
    images, xmls = files["image"], files["xml"]
    for name in sorted(xmls.keys() - images.keys()):  # FiftyOne has labels/a.xml for data/a.jpg
        path = PurePosixPath(name)
        in_data = str(path.parent / "data" / path.name)
        if in_data in images and in_data not in xmls:
            images[name] = images.pop(in_data)
    return Listing(folder, files["image"], files["xml"], files["other"], _lists(folder))


def _by_name(top: Path, drop: tuple[str, ...]) -> dict[str, dict[str, Path]]:
    """Return the files below a folder by kind and name, names without the folders that are in `drop`."""
    files: dict[str, dict[str, Path]] = {"image": {}, "xml": {}, "other": {}}
    for relative in walk(top):
        path = PurePosixPath(relative)
        suffix = path.suffix.lower()
        kind = "image" if suffix in IMAGE_SUFFIXES else "xml" if suffix == ".xml" else "other"
        if kind == "other" and suffix in NOT_IMAGES:
            continue
        name = "/".join([*(part for part in path.parts[:-1] if part.casefold() not in drop), path.stem])
        if kind != "other" and name in files[kind]:
            first = files[kind][name].relative_to(top)
            raise DataError(f"{top} has both {first} and {relative}, which have one name; keep one or rename it")
        files[kind][name] = top / relative
    return files


def _lists(folder: Path) -> dict[str, Path]:
    """Return the set lists of a folder: those in ImageSets/Main, else in ImageSets, else train.txt etc. in itself."""

    def texts(subfolder: Path) -> Iterator[Path]:
        return (path for path in sorted(subfolder.glob("*.[tT][xX][tT]")) if not is_hidden(path.name))

    for subfolder in (folder / "ImageSets" / "Main", folder / "ImageSets"):
        if lists := {path.stem: path for path in texts(subfolder)}:
            return lists
    return {path.stem: path for path in texts(folder) if path.stem in {*SET_OF, "trainval"}}
