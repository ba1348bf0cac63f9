"""The same images in several formats are read to the same records, bit for bit."""

import json

import pytest
import torch

from src.data.coco import read_coco
from src.data.voc import read_voc
from src.data.yolo import read_yolo
from tests.support.shared_data import shared_folder

CLASSES = ["RBC", "WBC", "Platelets"]
NAMES = {"train": "train", "val": "valid", "test": "test"}


def link_images(folder, records):
    folder.mkdir(parents=True)
    for record in records:
        (folder / record.path.name).symlink_to(record.path)


def write_yolo(root, name, records):
    link_images(root / name / "images", records)
    (root / name / "labels").mkdir()
    for record in records:
        lines = []
        for label, (x1, y1, x2, y2) in zip(record.labels.tolist(), record.boxes.tolist(), strict=True):
            numbers = (x1 + x2) / 2 / record.width, (y1 + y2) / 2 / record.height
            numbers += (x2 - x1) / record.width, (y2 - y1) / record.height
            lines.append(" ".join(map(str, (label, *numbers))))
        (root / name / "labels" / f"{record.path.stem}.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text(
        f"train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 3\nnames: {CLASSES}\n"
    )


def write_roboflow(root, name, records):
    link_images(root / name, records)
    images, annotations = [], []
    for number, record in enumerate(records):
        images.append({"id": number, "file_name": record.path.name, "width": record.width, "height": record.height})
        for label, (x1, y1, x2, y2) in zip(record.labels.tolist(), record.boxes.tolist(), strict=True):
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "category_id": label + 1, "iscrowd": 0, "area": 1}
            annotations.append({"id": len(annotations), "image_id": number, **box})
    categories = [{"id": 0, "name": "cells", "supercategory": "none"}]
    categories += [{"id": n, "name": name, "supercategory": "cells"} for n, name in enumerate(CLASSES, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / name / "_annotations.coco.json").write_text(json.dumps(content))


@pytest.mark.parametrize(("write", "read"), [(write_yolo, read_yolo), (write_roboflow, read_coco)])
def test_bccd(tmp_path, write, read):
    source = shared_folder("bccd/BCCD")
    for split, name in NAMES.items():
        write(tmp_path, name, read_voc(source, split, CLASSES))
    for split in (*NAMES, "trainval"):
        for record, other in zip(read(tmp_path, split), read_voc(source, split, CLASSES), strict=True):
            assert record.path.name == other.path.name
            assert (record.width, record.height) == (other.width, other.height)
            assert torch.equal(record.boxes, other.boxes) and torch.equal(record.labels, other.labels)
