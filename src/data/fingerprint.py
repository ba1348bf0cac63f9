"""Fingerprints of data sets: digests of everything in them that affects a run's numbers."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from src.data.messages import first_names
from src.data.records import ImageRecord
from src.utils.text import counted

# What is digested of an image, and how a message names it. An image is named under the first of the annotation's that
# differs, as moved boxes have other areas too.
LABELS = "class labels"
ANNOTATION: dict[str, tuple[str, Callable[[ImageRecord], bytes]]] = {
    "sizes": ("the size", lambda record: f"{record.width} {record.height}".encode()),
    "boxes": ("boxes", lambda record: record.boxes.numpy().tobytes()),
    "labels": (LABELS, lambda record: record.labels.numpy().tobytes()),
    "flags": ("difficult or crowd flags", lambda r: r.difficult.numpy().tobytes() + r.crowd.numpy().tobytes()),
    "areas": ("areas", lambda record: record.area.numpy().tobytes()),
}
PICTURE = ("pixels", "the picture")
DIGITS = 8  # of a digest of one part of an image
KINDS = {"train": "training", "test": "test"}


def describe(
    train: Sequence[ImageRecord], test: Sequence[ImageRecord], classes: Sequence[str], *, hashes: Mapping[Path, str]
) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """Return the fingerprint of a data set with the digests of its parts, and the digests of each image.

    Paths are not part of it: the same data in another place have the same fingerprint.

    Args:
        train: the images to train on, in order.
        test: the images to test on, in order.
        classes: their names in the order of the labels.
        hashes: of the bytes of each image's file.

    Returns:
        Facts: `train` and `test`, the numbers of images; `classes`; `fingerprint`, 16 hexadecimal digits; `parts`, 16
        digits for each of classes, images, sizes, boxes, labels, flags, areas and pixels.
        By split and image id, 8 digits for each part of an image, joined. They serve only for messages.
    """
    names = [*ANNOTATION, PICTURE[0]]
    wholes = {name: hashlib.blake2b(digest_size=8) for name in names}
    images: dict[str, dict[str, str]] = {}
    for split, records in (("train", train), ("test", test)):
        images[split] = {}
        for record in records:
            parts = [content(record) for _, content in ANNOTATION.values()] + [hashes[record.path].encode()]
            digests = [hashlib.blake2b(part, digest_size=8).digest() for part in parts]
            for name, digest in zip(names, digests, strict=True):
                wholes[name].update(digest)
            images[split][str(record.image_id)] = "".join(digest.hex()[:DIGITS] for digest in digests)
    ids = [[repr(record.image_id) for record in records] for records in (train, test)]
    digests_of_parts = {"classes": _digest(list(classes)), "images": _digest(ids)}
    digests_of_parts |= {name: whole.hexdigest() for name, whole in wholes.items()}
    facts = {"train": len(train), "test": len(test), "classes": list(classes)}
    return {**facts, "fingerprint": _digest(digests_of_parts), "parts": digests_of_parts}, images


def fingerprint_of_version_01(records: Sequence[ImageRecord]) -> str:
    """Return the fingerprint of version 0.1, which covers only the images' ids, sizes, boxes and labels."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(f"{record.image_id} {record.width} {record.height}".encode())
        digest.update(record.boxes.numpy().tobytes() + record.labels.numpy().tobytes())
    return digest.hexdigest()[:16]


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return in words what differs between two data sets, each as `data.json` has it.

    Args:
        earlier: perhaps of version 0.1, without details.
    """
    found = _between_classes(earlier["classes"], now["classes"])
    if "details" not in earlier:
        for split, kind in KINDS.items():
            if earlier[split] != now[split]:
                found.append(f"the number of {kind} images ({earlier[split]} → {now[split]})")
        return "; ".join(found) or "images or annotations, of which no details were noted"
    # Labels index the classes, and so may differ where no object's class does.
    same_classes = earlier["classes"] == now["classes"]
    for split in KINDS:
        old, new = earlier["details"]["images"][split], now["details"]["images"][split]
        found += _between_images(split, old, new, compare_labels=same_classes)
    return "; ".join(found) or "something too small to be noted for each image"


def _between_classes(earlier: Sequence[str], now: Sequence[str]) -> list[str]:
    if list(earlier) == list(now):
        return []
    gone, new = ([name for name in one if name not in other] for one, other in ((earlier, now), (now, earlier)))
    if not gone and not new:
        return [f"the order of the classes (now {first_names(now)})"]
    if len(gone) == len(new) == 1:
        return [f"the class names ({gone[0]} → {new[0]})"]
    return [
        f"the classes ({'; '.join(f'{word}: {first_names(x)}' for word, x in (('gone', gone), ('new', new)) if x)})"
    ]


def _between_images(
    split: str, earlier: Mapping[str, str], now: Mapping[str, str], *, compare_labels: bool
) -> list[str]:
    """Return what differs between the images of a split, each by id with its digests."""
    noun, found = f"{KINDS[split]} image", []
    for word, names in (("new", now.keys() - earlier.keys()), ("gone", earlier.keys() - now.keys())):
        if names:
            found.append(f"{counted(len(names), noun)} {'is' if len(names) == 1 else 'are'} {word} ({_first(names)})")
    if not found and list(earlier) != list(now):
        found.append(f"the order of the {noun}s")
    labels = [label for label, _ in ANNOTATION.values()]
    differing: dict[str, list[str]] = {label: [] for label in (*labels, PICTURE[1])}
    for name in earlier.keys() & now.keys():
        old, new = _split_digests(earlier[name]), _split_digests(now[name])
        others = [label for label, one, other in zip(labels, old, new, strict=False) if one != other]
        if not compare_labels and LABELS in others:
            others.remove(LABELS)
        for label in [*others[:1], *([PICTURE[1]] if old[-1] != new[-1] else [])]:
            differing[label].append(name)
    return found + [
        f"{label} of {counted(len(names), noun)} ({_first(names)})" for label, names in differing.items() if names
    ]


def _split_digests(digests: str) -> list[str]:
    return [digests[start : start + DIGITS] for start in range(0, len(digests), DIGITS)]


def _first(names: set[str] | list[str]) -> str:
    # In natural order, so that 2 comes before 10.
    ordered = sorted(names, key=lambda name: (len(name), name))
    return ", ".join(ordered[:3]) + (", …" if len(ordered) > 3 else "")


def _digest(value: Any) -> str:
    return hashlib.blake2b(repr(value).encode(errors="surrogatepass"), digest_size=8).hexdigest()
