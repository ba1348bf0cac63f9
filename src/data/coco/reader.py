"""COCO's format: a JSON file of each set and folders of images, in COCO's layout and in others that people have."""

import filecmp
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from src.data.coco.boxes import clip_boxes
from src.data.coco.files import WHOLE_SETS, find_images, find_json_files, set_name_of
from src.data.coco.json_file import CocoCategory, CocoFile, read_json, repeated_names
from src.data.fields import canonical_id
from src.data.images import check_size, read_sizes
from src.data.messages import Notes, add_notes, first_names, summary
from src.data.records import DataError, ImageRecord
from src.data.splits import dealt_to, is_dealt, joins_train_and_val, resolve_split, warn_of_dealing

logger = logging.getLogger(__name__)

IMAGE_INFO = "image_info_"  # begins the name of a file that lists images without annotations


def read_coco(root: str | Path, split: str, classes: Sequence[str] | None = None) -> list[ImageRecord]:
    """Return the images of a split of a folder in COCO's format, in the order of their JSON files.

    Where `trainval` joins two sets, or a hash assigns images to sets, they are sorted by name.

    Boxes are clipped to their image; those without area or wholly outside are dropped. A size that is missing is read
    from the image. One warning for the whole call counts this. `image_id` is COCO's id, after the name of the set
    where two sets give an id to different images. Labels are consecutive, without the gaps of COCO's category ids.

    Args:
        root: the data set's folder.
        split: names of sets joined by +. The JSON file of a set is `root/annotations/instances_<set>.json`,
            `root/annotations/<set>.json`, `root/<set>.json` or `root/<set>/_annotations.coco.json`. `val` is also
            called `valid`, and `trainval` is both train and val. An image is looked for in `root/<set>`,
            `root/images/<set>`, the folder in the name of a file such as `COCO_val2014_000000001146.jpg` (`val2014`,
            in `root` or `root/images`), `root`, beside the JSON file, and `root/images`.
        classes: what the labels index; None for `coco_classes` of the same split.

    Raises:
        DataError: a file is missing or defective, or a class is not among `classes`; the message names the file.
    """
    parsed = parse_coco(Path(root), split)
    return parsed.records(parsed.class_names() if classes is None else classes)


def coco_classes(root: str | Path, split: str) -> list[str]:
    """Return the category names of a split's JSON files, in the order of their category ids.

    A category without annotations that is the supercategory of others is left out: Roboflow adds one.
    """
    return parse_coco(Path(root), split).class_names()


@dataclass(frozen=True)
class CocoSplit:
    """The JSON files of a split, before class names become labels."""

    root: Path
    split: str
    files: dict[str, CocoFile]  # by the name of the set
    dealt: list[str] | None = None  # this split's sets, if a hash assigns images to sets; else None

    def class_names(self) -> list[str]:
        """Return the category names, in the order of their category ids."""
        return list(self.category_ids())

    def category_ids(self) -> dict[str, int | str]:
        """Return the category id of each class by its name, in the order of the ids; of several sets, the first's."""
        used = {
            file.categories[row].category_id for file in self.files.values() for row in set(file.objects.categories)
        }
        first_id: dict[str, int | str] = {}
        parents: list[str] = []
        for file in self.files.values():
            parents_here = [category for category in _parents(file.categories) if category.category_id not in used]
            kept = [category for category in file.categories if category not in parents_here]
            parents += [category.name for category in parents_here]
            repeated = repeated_names(kept)
            if repeated:
                raise DataError(
                    f"{file.path}: several category ids have the name {repeated}; give each class a name of its own"
                )
            for category in kept:
                first_id.setdefault(category.name, category.category_id)
        parents = sorted(set(parents) - first_id.keys())
        if parents:
            logger.warning(
                "%s, %s: not taken for classes, as they are supercategories of others and have no annotations: %s",
                self.root,
                self.split,
                first_names(parents),
            )
        forms = {name: canonical_id(value) for name, value in first_id.items()}  # "10" comes after "9"
        order = sorted(forms, key=lambda name: (isinstance(forms[name], str), forms[name]))
        return {name: first_id[name] for name in order}

    def records(self, classes: Sequence[str]) -> list[ImageRecord]:
        """Return a record of each image, as `read_coco` does."""
        records: dict[str, list[ImageRecord]] = {}
        notes: Notes = {}
        for set_name, file in self.files.items():
            add_notes(notes, file.notes)
            records[set_name] = _records(self.root, set_name, file, classes=classes, notes=notes)
        text = summary(notes)
        if text:
            logger.warning("%s, %s: %s", self.root, self.split, text)
        joined = _join(records, self.split)
        if self.dealt is not None or joins_train_and_val(self.split, self.files):
            joined.sort(key=lambda record: record.path.name)
        if self.dealt is not None:
            joined = [record for record in joined if dealt_to(record.path, self.dealt)]
            if not joined:
                raise DataError(f"{self.root}: none of its images is dealt to {self.split}; add images or make sets")
        return joined


def read_images(root: Path, split: str, classes: Sequence[str]) -> tuple[list[ImageRecord], list[int | str]]:
    """Return the images of one set that may lack annotations, and the category id of each class.

    The list of images of a set without annotations is `root/annotations/image_info_<set>.json`. COCO's test-dev2017 is
    a part of the images in `test2017`.

    Raises:
        DataError: as `read_coco`; or the split names several sets, or the file lacks one of the classes.
    """
    image_info = root / "annotations" / f"{IMAGE_INFO}{split}.json"
    if image_info.is_file():
        folder = split.replace("-dev", "")
        parsed = CocoSplit(root, split, {folder: read_json(image_info, needs_annotations=False)})
    else:
        parsed = parse_coco(root, split)
    if len(parsed.files) > 1:
        raise DataError(f"dataset.test={split} names several sets, whose images may share ids; name one")
    (file,) = parsed.files.values()
    # A class may be a supercategory without annotations in this file, but one with another's name gives way to it.
    id_of = {category.name: category.category_id for category in file.categories} | parsed.category_ids()
    if lacking := [name for name in classes if name not in id_of]:
        raise DataError(f"{file.path} has no category {first_names(lacking)}, which the detector was trained for")
    return parsed.records(classes), [id_of[name] for name in classes]


def parse_coco(root: Path, split: str) -> CocoSplit:
    """Read the JSON files of a split, each once; see `read_coco` for splits."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; dataset.root must name the folder of the data set")
    paths = find_json_files(root)
    if not paths:
        raise DataError(
            f"{root} has no JSON files where COCO's are looked for: annotations/train.json, train.json, or "
            "train/annotations.json, in lower case; move them to one of these places, or correct dataset.root"
        )
    items = split.split("+")
    whole = [name for name in paths if name in WHOLE_SETS]
    dealt = None
    if len(paths) == len(whole) == 1 and all(is_dealt(item) for item in items):
        names, dealt = whole, items
        warn_of_dealing(str(paths[whole[0]][0]), items)
    else:
        items = [item if item in paths else set_name_of(Path(item)) for item in items]
        names = resolve_split("+".join(items), paths, f"{root} (JSON files in COCO's format)")
    for name in names:
        if len(paths[name]) > 1:
            raise DataError(f"{first_names(list(map(str, paths[name])))} are all of the set {name!r}; keep one")
    files = {name: read_json(paths[name][0]) for name in names}
    if not any(len(file.objects.ids) for file in files.values()):
        path = ", ".join(str(file.path) for file in files.values())
        raise DataError(f"{path}: its list 'annotations' is empty; export the file with its annotations")
    return CocoSplit(root, split, files, dealt)


def _parents(categories: Sequence[CocoCategory]) -> list[CocoCategory]:
    """Return the categories that are the supercategory of another, but not of themselves."""
    children: dict[str, set[int | str]] = {}
    for category in categories:
        children.setdefault(category.supercategory, set()).add(category.category_id)
    return [
        category
        for category in categories
        if category.supercategory != category.name and children.get(category.name, set()) - {category.category_id}
    ]


def _records(root: Path, set_name: str, file: CocoFile, *, classes: Sequence[str], notes: Notes) -> list[ImageRecord]:
    """Return the records of one JSON file; what was repaired or dropped is added to `notes`."""
    images, objects = file.images, file.objects
    of_file: Notes = {}
    file_names = [image.file_name for image in images]
    paths = find_images(root, file.path, set_name=set_name, file_names=file_names, notes=of_file)
    read = iter(read_sizes([path for image, path in zip(images, paths, strict=True) if image.size is None]))
    sizes = [image.size or next(read) for image in images]
    of_file[
        "read the sizes of {count} images from the images, as width and height are no positive numbers: {names}"
    ] = [image.file_name for image in images if image.size is None]
    labels = _labels(file, classes)
    corners, has_area = clip_boxes(file.path, objects, np.array(sizes, np.float64)[objects.images], of_file)
    outside = ~has_area & np.all(objects.boxes[:, 2:] > 0, axis=1)
    for row in sorted({*objects.images[outside]} - {*objects.images[has_area]}):
        check_size(file.path, paths[row], sizes[row])
    area = np.where(np.isnan(objects.area), (corners[:, 2:] - corners[:, :2]).prod(1), objects.area)
    add_notes(notes, of_file)

    order = np.argsort(objects.images, kind="stable")
    order = order[has_area[order]]
    ends = np.searchsorted(objects.images[order], np.arange(len(images) + 1))
    records = []
    for row, (image, path, (width, height)) in enumerate(zip(images, paths, sizes, strict=True)):
        of_image = order[ends[row] : ends[row + 1]]
        records.append(
            ImageRecord(
                image_id=image.image_id,
                path=path,
                width=width,
                height=height,
                boxes=torch.as_tensor(corners[of_image], dtype=torch.float32),
                labels=torch.as_tensor(labels[of_image]),
                difficult=torch.as_tensor(objects.ignored[of_image]),
                crowd=torch.as_tensor(objects.crowd[of_image]),
                area=torch.as_tensor(area[of_image], dtype=torch.float32),
            )
        )
    return records


def _labels(file: CocoFile, classes: Sequence[str]) -> np.ndarray:
    """Return the label of each annotation, int64 [N]. Raises a DataError if its class is not among `classes`."""
    label_of = {name: label for label, name in enumerate(classes)}
    label_of_row = np.array([label_of.get(category.name, -1) for category in file.categories], np.int64)
    labels = label_of_row[file.objects.categories]
    unknown = np.flatnonzero(labels < 0)
    if len(unknown):
        name = file.categories[file.objects.categories[unknown[0]]].name
        raise DataError(
            f"{file.path}: annotation {file.objects.ids[unknown[0]]} is of class {name!r}, which is not one of the "
            f"classes {', '.join(classes)}; correct the list of classes"
        )
    return labels


def _join(records_of: dict[str, list[ImageRecord]], split: str) -> list[ImageRecord]:
    """Return the records of several sets, whose ids of one number get their set's name in front.

    Roboflow, CVAT and others number the images of each set from the same number on.

    Raises:
        DataError: two sets have the same image: the same file, or one of equal id, name and content.
    """
    first_of: dict[str | int, ImageRecord] = {}
    id_of: dict[Path, str | int] = {}
    shared: set[str | int] = set()
    for record in (record for records in records_of.values() for record in records):
        if (other := id_of.setdefault(record.path, record.image_id)) != record.image_id:
            raise DataError(
                f"{record.path} comes twice in split {split}, under the ids {other} and {record.image_id}; "
                "leave it out of one of the sets"
            )
        first = first_of.setdefault(record.image_id, record)
        if first is record:
            continue
        if first.path.name == record.path.name and filecmp.cmp(first.path, record.path, shallow=False):
            raise DataError(
                f"image id {record.image_id} comes twice in split {split}: {first.path} and {record.path}; "
                "leave it out of one of the sets"
            )
        shared.add(record.image_id)
    return [
        replace(record, image_id=f"{set_name}/{record.image_id}") if record.image_id in shared else record
        for set_name, records in records_of.items()
        for record in records
    ]
