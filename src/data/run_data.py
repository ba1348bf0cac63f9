"""Which data a run uses: `data.json` in its folder, and whether data set and pretrained weights are those noted there.

A finished run's data are compared by a quick look, and read only if that differs. Only then is torch imported.
"""

import functools
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.data.quick_look import look_at, stamp
from src.utils.errors import UserError
from src.utils.files import DamagedFile, read_json

if TYPE_CHECKING:
    from src.data.records import ImageRecord

logger = logging.getLogger(__name__)

FILE = "data.json"
Data = tuple["list[ImageRecord]", "list[ImageRecord]", list[str]]  # to train on, to test on, and the classes

# The data set that was last read for a comparison, and its old fingerprint: the runs of a sweep have the same one.
_last_read: dict[str, tuple[dict[str, Any], str]] = {}


class DataChanged(UserError):
    """The data set, or the pretrained weights, are no longer those that the run in a folder uses.

    Args:
        difference: what differs, and from what, in words: "on other data than DIR holds now; what differs: …".
        remedy: what to add to the command.
        noted: the entry of `data.json` in the run's folder that differs.
    """

    def __init__(self, directory: Path, difference: str, remedy: str, noted: Mapping[str, Any]):
        super().__init__(f"{directory} belongs to a run {difference}. {remedy}")
        self.difference, self.remedy, self.noted = difference, remedy, dict(noted)


def take_look(dataset: Mapping[str, Any], outputs: str) -> dict[str, str]:
    """Return a quick look at the folder of a data set; take it before the data are read.

    Args:
        dataset: the keys of the group `dataset`.
        outputs: the folder of all runs.
    """
    return {"": look_at(Path(dataset["root"]).expanduser(), outputs)}


def describe_weights(weights: object) -> dict[str, dict[str, str]]:
    """Return the entry of `data.json` for a file of pretrained weights; none if there is no such file.

    Args:
        weights: the configuration's `model.weights`, which a detector of your own may define in another way.
    """
    if not (isinstance(weights, str) and (file := Path(weights).expanduser()).is_file()):
        return {}  # nothing to compare, so a finished run does not need it any more
    try:
        return {"weights": {"file": weights, "sha256": _sha256(file, tuple(stamp(file)))}}
    except OSError as error:
        raise UserError(f"model.weights={weights} cannot be read: {error.strerror or error}") from error


@functools.lru_cache(1)  # the runs of a sweep have the same file, of up to half a gigabyte
def _sha256(file: Path, _stamp: tuple[int, ...]) -> str:
    """Return the hash of a file's content, which is read again once its stamp is another."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def describe_data(
    dataset: Mapping[str, Any],
    data: "Data",
    look: Mapping[str, str],
    *,
    outputs: str,
    workers: int,
    check_stop: Callable[[], None],
) -> dict[str, Any]:
    """Return the content of `data.json` for data that have been read; all but its `details` is logged with the run.

    A warning names test images whose file is a copy of a training image's.

    Args:
        dataset: the keys of the group `dataset`.
        look: as `take_look` returns it.
        outputs: the folder of all runs.
        workers, check_stop: see `hash_images`.

    Raises:
        DataError: an image cannot be decoded, or disagrees with its annotation.
    """
    from src.data.datasets import format_of
    from src.data.fingerprint import describe
    from src.data.image_hashes import hash_images

    train, test, classes = data
    hashes = hash_images([*train, *test], dataset["root"], workers=workers, check_stop=check_stop)
    _warn_of_copies(train, test, hashes)
    root = Path(dataset["root"]).expanduser()
    looks = {**look, **{folder: look_at(folder, outputs) for folder in _folders_elsewhere(root, hashes)}}
    facts, images = describe(train, test, classes, hashes=hashes)
    details = {"format": dataset["format"], "look": looks, "images": images}
    data_format = format_of(dataset["format"], dataset["root"])
    return {"root": dataset["root"], "format": data_format, **facts, "details": details}


def _warn_of_copies(train: "list[ImageRecord]", test: "list[ImageRecord]", hashes: Mapping[Path, str]) -> None:
    """Log which test images are copies of training images; those that are the same file are named before."""
    from src.data.messages import first_names

    training = {record.path: record for record in train}
    name_of = {hashes[path]: path.name for path in training}
    paths = [record.path for record in test if record.path not in training and hashes[record.path] in name_of]
    if paths:
        names = first_names([f"{path.name} = {name_of[hashes[path]]}" for path in paths])
        text = "%d of %d test images are copies of training images, so that AP is not that of new images: %s"
        logger.warning(text, len(paths), len(test), names)


def read_noted(file: Path) -> dict[str, Any] | None:
    """Return what a file in a run's folder notes; None if there is none, or, with a warning, if it is damaged.

    A checkpoint notes its data too, so that a damaged `data.json` does not let it be continued on others.
    """
    try:
        noted = read_json(file)
    except DamagedFile as error:
        logger.warning("%s; it is ignored", error)
        return None
    return noted if isinstance(noted, dict) else None


def check_same(directory: Path, noted: Mapping[str, Any], now: Mapping[str, Any], *, of_version_01: str) -> None:
    """Raise DataChanged if the data set is not the one that a run's folder notes.

    Args:
        directory: the run's folder.
        noted: its `data.json`.
        now: what that would be for the data set as it is.
        of_version_01: the fingerprint of the data set as version 0.1 computed it.
    """
    from src.data.fingerprint import differences

    if noted["fingerprint"] == (now["fingerprint"] if "parts" in noted else of_version_01):
        return
    moved = f" (at {noted['root']})" if noted["root"] != now["root"] else ""
    raise DataChanged(
        directory,
        f"on other data{moved} than {now['root']} holds now; what differs: {differences(noted, now)}",
        "To train anew on the data as they are now, add retry=true; to keep these results and make others, add "
        "dataset.name=NAME",
        {"fingerprint": noted["fingerprint"]},
    )


def check_same_weights(directory: Path, noted: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise DataChanged if a file of pretrained weights is not the one that a run's folder notes.

    Args:
        directory: the run's folder.
        noted: its `data.json`, perhaps of a version that noted no weights.
        now: as `describe_weights` returns it.
    """
    if "weights" in noted and "weights" in now and noted["weights"]["sha256"] != now["weights"]["sha256"]:
        raise DataChanged(
            directory,
            f"from other weights than model.weights={now['weights']['file']} holds now",
            "To train anew from these, add retry=true; to keep the results and make others, rename the file of weights",
            {"weights": noted["weights"]},
        )


def compare_data(
    directory: Path,
    dataset: Mapping[str, Any],
    *,
    weights: object = None,
    outputs: str,
    workers: int,
    check_stop: Callable[[], None] = lambda: None,
    look: Callable[..., str] = look_at,
) -> dict[str, Any] | None:
    """Compare the data set and the weights with what is noted in the folder of a run, without changing that.

    Args:
        directory: the run's folder.
        dataset: the keys of the group `dataset`.
        weights: the configuration's `model.weights`.
        outputs: the folder of all runs.
        workers, check_stop: see `hash_images`.
        look: `look_at`, or a function that looks at a folder only once.

    Returns:
        What to write into `data.json`, so that a look suffices next time; None if it need not be written.

    Raises:
        DataChanged: the data set or the weights are others, or have changed.
        DataError: something is wrong on disk.
    """
    noted = read_noted(directory / FILE) or (read_noted(directory / "summary.json") or {}).get("data")
    check_same_weights(directory, noted or {}, describe_weights(weights))
    root = Path(dataset["root"]).expanduser()
    if noted is None or not root.is_dir():
        reason = f"{root} is not there" if noted else f"{directory} has no {FILE}"
        logger.warning("%s: its data could not be compared, as %s", directory, reason)
        return None
    before = {"": look(root, outputs)}
    details = noted.get("details", {"look": {}, "format": None})
    elsewhere = {folder: look(folder, outputs) for folder in details["look"] if folder}
    if details["look"] == {**before, **elsewhere} and details["format"] == dataset["format"]:
        return None
    from src.data.records import DataError  # imports torch

    try:
        now, of_version_01 = _read_now(dataset, before, outputs=outputs, workers=workers, check_stop=check_stop)
    except DataError as error:
        raise DataError(f"{directory}: its data have been changed, and something is wrong with them: {error}") from None
    check_same(directory, noted, now, of_version_01=of_version_01)
    return {**now, **{key: noted[key] for key in ("root", "weights") if key in noted}}


def _read_now(
    dataset: Mapping[str, Any],
    look: Mapping[str, str],
    *,
    outputs: str,
    workers: int,
    check_stop: Callable[[], None],
) -> tuple[dict[str, Any], str]:
    """Return the content of `data.json` for a data set as it is, and its fingerprint of version 0.1."""
    from src.data.datasets import read_data
    from src.data.fingerprint import fingerprint_of_version_01

    keys = {key: dataset[key] for key in ("format", "root", "train", "test", "classes", "classes_as_one")}
    key = json.dumps([keys, look])
    if key not in _last_read:
        _last_read.clear()
        options = {key: value for key, value in keys.items() if key not in ("format", "root")}
        train, test, classes = read_data(keys["format"], keys["root"], **options)
        now = describe_data(
            dataset, (train, test, classes), look, outputs=outputs, workers=workers, check_stop=check_stop
        )
        _last_read[key] = now, fingerprint_of_version_01(train + test)
    return _last_read[key]


def _folders_elsewhere(root: Path, images: Mapping[Path, str]) -> list[str]:
    """Return the folders to look at besides the data set's: those of images that are elsewhere, as YOLO's may be."""
    root = Path(os.path.abspath(root))
    folders = set()
    for folder in {Path(os.path.abspath(path.parent)) for path in images}:
        inside = folder.is_relative_to(root)
        if inside and not any(part.startswith(".") for part in folder.relative_to(root).parts):
            continue
        # The annotations of YOLO's images/… are in labels/… beside it.
        parts = folder.parts
        depth = len(parts) - parts[::-1].index("images") - 1 if "images" in parts and not inside else len(parts)
        folders.add(str(Path(*parts[:depth])))
    return sorted(folders)
