"""Files for evaluation servers: their layout, and that they hold what was detected."""

import json
import tarfile
import zipfile
from dataclasses import replace

import pytest
import torch

from src.data.records import DataError, make_record
from src.data.server_splits import ServerSplit, read_server_split
from src.detectors.detections import Detections
from src.evaluation.coco_metrics import evaluate_detections
from src.evaluation.server_files import BOX_DIGITS, SCORE_DIGITS, read_server_file, server_file, write_server_file
from src.utils.errors import UserError
from tests.data.coco_folder import two_images, write
from tests.data.voc_folder import add_image, add_list, object_xml

NAMES = ["boat", "cat"]


def split_of(style, image_ids, size=(100, 80), category_ids=(), **about):
    """A split of images without objects."""
    records = [make_record(image_id, "a.jpg", size, [], []) for image_id in image_ids]
    about = {"name": "test", "dataset": "VOC2012"} | about
    return ServerSplit(style=style, records=records, annotated=False, category_ids=list(category_ids), **about)


def near(records, seed=0):
    """Detections near the objects, two of each with scores that need all their digits, in no order of scores."""
    random = torch.Generator().manual_seed(seed)
    found = []
    for record in records:
        boxes = (record.boxes.repeat(2, 1) + 3 * torch.randn(2 * len(record.boxes), 4, generator=random)).clamp(min=0)
        boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 0.3)
        found.append(Detections(boxes, torch.rand(len(boxes), generator=random), record.labels.repeat(2)))
    return found


def rounded(found):
    """Detections with as many digits as a file has."""
    return [
        Detections(
            one.boxes.double().round(decimals=BOX_DIGITS), one.scores.double().round(decimals=SCORE_DIGITS), one.labels
        )
        for one in found
    ]


def some_records(count=40):
    random = torch.Generator().manual_seed(1)
    records = []
    for number in range(count):
        corners = torch.randint(0, 150, (3, 2), generator=random)
        boxes = torch.cat([corners, corners + torch.randint(5, 50, (3, 2), generator=random)], dim=1).tolist()
        labels = torch.randint(0, 2, (3,), generator=random).tolist()
        records.append(make_record(number, "a.jpg", (200, 200), boxes, labels, [False, False, number % 9 == 0]))
    return records


@pytest.mark.parametrize("style", ["voc", "coco"])
def test_a_file_read_back_gives_the_figures_of_its_digits(style, tmp_path):
    records = some_records()
    if style == "voc":
        records = [replace(record, image_id=f"{record.image_id:06d}") for record in records]
    split = replace(split_of(style, [], category_ids=[9, 4]), records=records, annotated=True)
    found = near(records)
    path = write_server_file(tmp_path, split, found, classes=NAMES, name="id")
    written = evaluate_detections(records, read_server_file(path, split, NAMES), NAMES)
    expected = evaluate_detections(records, rounded(found), NAMES)
    assert written == pytest.approx(expected, abs=1e-9, nan_ok=True) and 20 < written["AP"] < 90
    in_memory = evaluate_detections(records, found, NAMES)
    assert written == pytest.approx(in_memory, abs=0.5, nan_ok=True)
    bytes_before = path.read_bytes()
    write_server_file(tmp_path, split, found, classes=NAMES, name="id")
    assert path.read_bytes() == bytes_before and list(tmp_path.iterdir()) == [path]


def test_vocs_lines_count_pixels_from_one_and_an_empty_class_has_an_empty_file(tmp_path):
    split = split_of("voc", ["2008_000001"])
    found = Detections(
        torch.tensor([[0, 0, 100, 80], [10.25, 20, 11, 40.5]]), torch.tensor([0.5, 1e-7]), torch.ones(2).long()
    )
    path = write_server_file(tmp_path, split, [found], classes=NAMES, name="id")
    assert path.name == "comp4_VOC2012_test_id.tar.gz"
    with tarfile.open(path) as archive:
        texts = {name: archive.extractfile(name).read().decode() for name in archive.getnames()}
    assert texts == {
        "results/VOC2012/Main/comp4_det_test_boat.txt": "",
        "results/VOC2012/Main/comp4_det_test_cat.txt": "2008_000001 0.50000000 1.00 1.00 100.00 80.00\n"
        "2008_000001 0.00000010 11.25 21.00 11.00 40.50\n",
    }


def test_cocos_file_has_no_folder_and_the_best_hundred_of_an_image(tmp_path):
    split = split_of("coco", [581781], category_ids=[90, 4], name="test-dev2017")
    scores = torch.arange(150) / 256
    found = Detections(torch.tensor([[1.5, 2, 11.5, 22.25]]).repeat(150, 1), scores, torch.ones(150).long())
    path = write_server_file(tmp_path, split, [found], classes=NAMES, name="id")
    assert path.name == "detections_test-dev2017_id_results.zip"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["detections_test-dev2017_id_results.json"]
        entries = json.loads(archive.read(archive.namelist()[0]))
    assert len(entries) == 100 and entries[0]["score"] == 50 / 256
    assert entries[-1] == {"image_id": 581781, "category_id": 4, "bbox": [1.5, 2.0, 10.0, 20.25], "score": 149 / 256}


@pytest.mark.parametrize(("image", "name", "named"), [("a b", "cat", "a b"), ("a", "cat/dog", "cat/dog")])
def test_a_name_that_vocs_files_cannot_have_is_refused(image, name, named, tmp_path):
    split = split_of("voc", [image])
    found = Detections(torch.tensor([[0, 0, 5, 5.0]]), torch.ones(1), torch.zeros(1).long())
    with pytest.raises(DataError, match=named):
        write_server_file(tmp_path, split, [found], classes=[name], name="id")
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match=named):
        server_file(tmp_path, split, classes=[name], name="id")


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    split = split_of("voc", ["a"])
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long())
    with pytest.raises(UserError, match="missing is no folder; give another"):
        write_server_file(tmp_path / "missing", split, [nothing], classes=["cat"], name="id")


def test_vocs_list_without_all_xml_files_is_read_as_images_alone(tmp_path):
    root = tmp_path / "VOC2012"
    for stem in ("a", "b"):
        add_image(root, stem, object_xml("cat"))
    add_list(root, "test", "b", "a")
    read = read_server_split("voc", str(tmp_path), split="2012_test", classes=["cat"])
    assert read.annotated and (read.dataset, read.name) == ("VOC2012", "test") and len(read.records[0].boxes) == 1
    (root / "Annotations/a.xml").unlink()
    read = read_server_split("voc", str(tmp_path), split="2012_test", classes=["cat"])
    assert not read.annotated and [record.image_id for record in read.records] == ["b", "a"]
    assert [(r.width, r.height, len(r.boxes)) for r in read.records] == [(100, 80, 0)] * 2
    (root / "Annotations/b.xml").unlink()
    (root / "Annotations").rmdir()
    assert not read_server_split("voc", str(root), split="test", classes=["cat"]).annotated
    (root / "JPEGImages/a.jpg").unlink()
    with pytest.raises(DataError, match="no image for 1 of the 2"):
        read_server_split("voc", str(root), split="test", classes=["cat"])


def test_a_supercategory_of_the_same_name_gives_no_class_its_id(tmp_path):
    data = two_images()
    for category in data["categories"]:
        category["supercategory"] = category["name"]
    parent = {"id": 0, "name": data["categories"][0]["name"], "supercategory": "none"}
    for categories in ([parent, *data["categories"]], [*data["categories"], parent]):
        write(tmp_path, "val2017", data | {"categories": categories})
        names = [category["name"] for category in data["categories"]]
        read = read_server_split("coco", str(tmp_path), split="val2017", classes=names)
        assert read.category_ids == [category["id"] for category in data["categories"]]


def test_cocos_list_of_images_without_annotations_is_read(tmp_path):
    data = two_images()
    write(tmp_path, "val2017", data)
    read = read_server_split("coco", str(tmp_path), split="val2017", classes=["toothbrush", "boat"])
    assert read.annotated and read.category_ids == [90, 4]
    del data["annotations"]
    write(tmp_path, "x", data, image_folder="test2017").rename(tmp_path / "annotations/image_info_test-dev2017.json")
    read = read_server_split("coco", str(tmp_path), split="test-dev2017", classes=["boat", "toothbrush"])
    assert not read.annotated and read.category_ids == [4, 90] and read.name == "test-dev2017"
    assert [(record.image_id, record.path.parent.name) for record in read.records] == [(7, "test2017"), (3, "test2017")]
    with pytest.raises(DataError, match="no category dog"):
        read_server_split("coco", str(tmp_path), split="test-dev2017", classes=["dog"])
    with pytest.raises(DataError, match="name one"):
        read_server_split("coco", str(tmp_path), split="val2017+test-dev2017", classes=["boat"])
    with pytest.raises(DataError, match="VOC's and COCO's formats alone"):
        read_server_split("yolo", str(tmp_path), split="test", classes=["boat"])
