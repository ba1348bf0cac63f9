"""Splits of a data set: which sets a name such as `trainval` means, and how images without sets are assigned to one."""

import logging
import os
from collections.abc import Collection, Sequence
from pathlib import PurePath
from zlib import crc32

from src.data.records import DataError
from src.utils.quoting import override

logger = logging.getLogger(__name__)

# By the names of sets, what else people call them, the usual first.
SYNONYMS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
SET_OF = {synonym: name for name, synonyms in SYNONYMS.items() for synonym in synonyms}
# The last digit of the hash of an image's name decides its split where nothing else does.
HASH_DIGITS: dict[str, Sequence[int]] = {
    "test": (0, 1),
    "val": (2,),
    "train": range(3, 10),
    "trainval": range(2, 10),
}


def resolve_split(split: str, names: Collection[str], where: str) -> list[str]:
    """Return the sets that a split means, such as ["train", "valid"] for `trainval`.

    A set is taken by its name, else by another case or by a synonym (val, valid, validation). Where no set is called
    `trainval`, it means train and val.

    Args:
        split: names joined by +.
        names: of the sets that exist.
        where: what holds them, for messages.

    Raises:
        DataError: a set does not exist, or is named twice.
    """
    sets: list[str] = []
    for item in split.split("+"):
        found = find_set(item, names)
        found_train, found_val = find_set("train", names), find_set("val", names)
        if found:
            sets.append(found)
        elif item == "trainval" and found_train:
            sets += [found_train, found_val] if found_val else [found_train]
            if not found_val:
                warn_of_train_alone(where, found_train)
        else:
            raise DataError(f"{where} has no set {item!r}; {advice(names)}")
    repeated = [name for name in sets if sets.count(name) > 1]
    if repeated:
        raise DataError(f"split {split} names {repeated[0]} twice; name it once")
    return sets


def joins_train_and_val(split: str, names: Collection[str]) -> bool:
    """Return whether a split means `trainval` where no set has that name.

    Its images are then sorted by name, so that their order, on which training depends, is that of any other format.
    """
    return "trainval" in split.split("+") and find_set("trainval", names) is None


def find_set(item: str, names: Collection[str]) -> str | None:
    """Return the set with a name: the same, else in another case, else a synonym; None where there is none."""
    if item in names:
        return item
    synonyms = SYNONYMS.get(SET_OF.get(item.casefold(), ""), (item.casefold(),))
    for synonym in (item.casefold(), *synonyms):
        matches = [name for name in sorted(names) if name.casefold() == synonym]
        if matches:
            return matches[0]
    return None


def advice(names: Collection[str]) -> str:
    """Return which sets exist, and the overrides that choose them."""
    listed = f"its sets are {', '.join(sorted(names))}"
    train = find_set("train", names) or sorted(names)[0]
    test = next((name for name in (find_set("test", names), find_set("val", names), *sorted(names)) if name), train)
    if len(names) == 1:
        return f"{listed}. Make a second set, and choose both with dataset.train=NAME dataset.test=NAME"
    if test == train:
        test = next(name for name in sorted(names) if name != train)
    choice = f"{override('dataset.train', train)} {override('dataset.test', test)}"
    return f"{listed}. Choose with {choice}, for example; + joins several"


def is_dealt(item: str) -> bool:
    """Return whether images without sets are assigned to a set of this name."""
    return item in HASH_DIGITS or item == "all"


def dealt_to(name: str | PurePath, items: Sequence[str]) -> bool:
    """Return whether an image without a set is assigned to one of the sets `items`; `all` has every image.

    A hash of the stem of its name decides, so that the same images in another format get the same sets.
    """
    digit = crc32(os.fsencode(PurePath(name).stem)) % 10
    return any(item == "all" or digit in HASH_DIGITS[item] for item in items)


def warn_of_train_alone(where: str, train: str) -> None:
    """Log that `trainval` is `train` alone, as there is no `val`."""
    logger.warning("%s has no set val: trainval is %s alone", where, train)


def warn_of_dealing(where: str, items: Sequence[str]) -> None:
    """Log that images are assigned to sets by a hash of their names."""
    if set(items) != {"all"}:
        logger.warning(
            "%s has no sets: its images are dealt to train, val and test (7 : 1 : 2) by a hash of their names", where
        )
