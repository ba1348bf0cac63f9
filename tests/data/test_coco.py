"""Records from JSON files in COCO's layout."""

import json
import shutil

import pytest
from PIL import Image

from src.data.coco import coco_classes, read_coco
from src.data.records import DataError
from tests.data.coco_folder import two_images, write
from tests.support.shared_data import shared_folder


def test_boxes_labels_and_flags_are_read(tmp_path):
    write(tmp_path, "val2017", two_images())
    seven, three = read_coco(tmp_path, "val2017")
    assert coco_classes(tmp_path, "val2017") == ["boat", "toothbrush"]
    assert (seven.image_id, three.image_id) == (7, 3)
    assert seven.path == tmp_path / "val2017" / "seven.jpg" and (seven.width, seven.height) == (100, 80)
    assert seven.boxes.tolist() == [[90, 70, 100, 80]]
    assert three.boxes.tolist() == [[1.5, 2, 11.5, 22.25], [0, 0, 50, 60]]
    assert seven.labels.tolist() == [0] and three.labels.tolist() == [1, 0]
    assert seven.crowd.tolist() == [True] and three.crowd.tolist() == [False, False]
    assert seven.area.tolist() == [12] and three.area.tolist() == [99.5, 3000]
    assert not seven.difficult.any()


def test_an_ignored_object_is_difficult(tmp_path):
    data = two_images()
    for annotation, value in zip(data["annotations"], (1, "1", 0), strict=True):
        annotation["ignore"] = value
    path = write(tmp_path, "val", data)
    seven, three = read_coco(tmp_path, "val")
    assert seven.difficult.tolist() == [True] and three.difficult.tolist() == [True, False]
    assert three.training_objects()[1].tolist() == [0]
    data["annotations"][2]["ignore"] = 2
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match=r"instances_val\.json: annotation 3 has the ignore '2', which should be"):
        read_coco(tmp_path, "val")


def test_labels_follow_the_given_classes(tmp_path):
    write(tmp_path, "val", two_images())
    seven, three = read_coco(tmp_path, "val", ["person", "toothbrush", "boat"])
    assert seven.labels.tolist() == [2] and three.labels.tolist() == [1, 2]
    with pytest.raises(DataError, match=r"instances_val\.json: annotation 2 is of class 'boat'.*toothbrush"):
        read_coco(tmp_path, "val", ["toothbrush"])


def test_names_are_text_without_spaces_around(tmp_path):
    data = two_images()
    data["categories"][0]["name"], data["categories"][1]["name"] = " tooth brush\n", 5
    write(tmp_path, "val", data)
    assert coco_classes(tmp_path, "val") == ["5", "tooth brush"]
    seven, three = read_coco(tmp_path, "val", ["tooth brush", "5"])
    assert seven.labels.tolist() == [1] and three.labels.tolist() == [0, 1]


def test_categories_are_in_the_order_of_their_numbers_also_as_text(tmp_path):
    data = two_images()
    data["categories"] = [{"id": str(number), "name": f"class {number}"} for number in (90, 4, 10, 9)]
    write(tmp_path, "val", data)
    assert coco_classes(tmp_path, "val") == ["class 4", "class 9", "class 10", "class 90"]


def test_an_image_without_objects_is_kept(tmp_path):
    data = two_images()
    data["images"].append({"id": 9, "file_name": "nine.jpg", "width": 5, "height": 5})
    write(tmp_path, "val", data)
    nine = read_coco(tmp_path, "val")[2]
    assert nine.image_id == 9 and nine.boxes.shape == (0, 4)


def test_a_split_joins_several_sets(tmp_path):
    write(tmp_path, "train2014", two_images())
    other = two_images()
    other["images"] = [{"id": 8, "file_name": "eight.jpg", "width": 100, "height": 80}]
    other["annotations"] = [{"id": 1, "image_id": 8, "category_id": 5, "bbox": [1, 1, 2, 2]}]
    other["categories"] = [{"id": 5, "name": "kite"}]
    write(tmp_path, "extra", other)
    records = read_coco(tmp_path, "train2014+extra")
    assert [record.image_id for record in records] == [7, 3, 8]
    assert coco_classes(tmp_path, "train2014+extra") == ["boat", "kite", "toothbrush"]
    assert [record.labels.tolist() for record in records] == [[0], [2, 0], [1]]
    assert records[2].path == tmp_path / "extra" / "eight.jpg"


def test_sets_that_share_an_image_are_an_error(tmp_path):
    write(tmp_path, "train", two_images())
    write(tmp_path, "val", two_images())
    with pytest.raises(DataError, match="image id 7 comes twice in split train.val"):
        read_coco(tmp_path, "train+val")
    with pytest.raises(DataError, match="names val twice"):
        read_coco(tmp_path, "val+val")


@pytest.mark.parametrize("folder", ["minival", "images/minival", "val2014", "images/val2014", ""])
def test_images_are_found_in_the_usual_folders(tmp_path, folder):
    data = two_images()
    for image in data["images"]:
        image["file_name"] = f"COCO_val2014_{image['id']:012d}.jpg"
    write(tmp_path, "minival", data, image_folder=folder)
    seven, _ = read_coco(tmp_path, "minival")
    assert seven.path == tmp_path / folder / "COCO_val2014_000000000007.jpg"


def test_file_names_may_include_folders(tmp_path):
    data = two_images()
    data["images"][0]["file_name"] = "deep/seven.jpg"
    write(tmp_path, "val", data, image_folder="")
    seven, three = read_coco(tmp_path, "val")
    assert (seven.path, three.path) == (tmp_path / "deep" / "seven.jpg", tmp_path / "three.jpg")


def test_missing_images_are_named(tmp_path):
    write(tmp_path, "val", two_images())
    (tmp_path / "val" / "seven.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of the 2 images of .*_val\.json are missing: seven\.jpg"):
        read_coco(tmp_path, "val")


def test_boxes_without_area_or_outside_are_dropped_with_one_warning(tmp_path, caplog):
    data = two_images()
    data["annotations"] += [
        {"id": 11, "image_id": 7, "category_id": 4, "bbox": [5, 5, 0, 9]},
        {"id": 12, "image_id": 3, "category_id": 4, "bbox": [60, 5, 9, 9]},
        {"id": 13, "image_id": 3, "category_id": 4, "bbox": [5, 5, 4, -1]},
        {"id": 14, "image_id": 7, "category_id": 90, "bbox": [-5, -5, 10, 10]},
    ]
    write(tmp_path, "val", data)
    seven, three = read_coco(tmp_path, "val")
    assert seven.boxes.tolist() == [[90, 70, 100, 80], [0, 0, 5, 5]] and seven.labels.tolist() == [0, 1]
    assert len(three.boxes) == 2
    assert len(caplog.records) == 1 and "dropped 3 boxes" in caplog.text and "11, 12, 13" in caplog.text


def test_the_message_for_a_missing_set_lists_the_sets(tmp_path):
    write(tmp_path, "val2017", two_images())
    with pytest.raises(DataError, match=r"has no set 'val2014'; its sets are val2017\. Make a second set"):
        read_coco(tmp_path, "val2014")
    write(tmp_path, "train2017", two_images())
    with pytest.raises(DataError, match=r"its sets are train2017, val2017\. Choose with dataset\.train=train2017 "):
        read_coco(tmp_path, "trainval")
    with pytest.raises(DataError, match="nowhere: no such folder"):
        coco_classes(tmp_path / "nowhere", "val2014")


def test_a_hundred_images_of_coco_are_read_whole(tmp_path):
    source = shared_folder("eval/coco100") / "gt.json"
    data = json.loads(source.read_text())
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2014").mkdir()
    shutil.copyfile(source, tmp_path / "annotations" / "instances_minival2014.json")
    for image in data["images"]:
        Image.new("L", (2, 2)).save(tmp_path / "val2014" / image["file_name"])
    records = read_coco(tmp_path, "minival2014")
    classes = coco_classes(tmp_path, "minival2014")
    assert len(records) == 100
    assert len(classes) == 80 and (classes[0], classes[-1]) == ("person", "toothbrush")
    assert sum(len(record.boxes) for record in records) == 830
    assert not any(record.crowd.any() for record in records)
    id_of = {category["name"]: category["id"] for category in data["categories"]}
    for record in records:
        expected = [entry for entry in data["annotations"] if entry["image_id"] == record.image_id]
        assert [id_of[classes[label]] for label in record.labels] == [entry["category_id"] for entry in expected]
        assert record.area.tolist() == pytest.approx([entry["area"] for entry in expected])
        for box, entry in zip(record.boxes.tolist(), expected, strict=True):
            x, y, width, height = entry["bbox"]
            right, bottom = min(x + width, record.width), min(y + height, record.height)
            assert box == pytest.approx([x, y, right, bottom], abs=1e-3)
