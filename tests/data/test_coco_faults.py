"""Files in COCO's format as other programs write them: read as they are meant, or refused by name."""

import json

import pytest
from PIL import Image

from src.data.coco import coco_classes, read_coco
from src.data.datasets import read_data
from src.data.records import DataError
from tests.data.coco_folder import two_images, write


def annotation(**changes):
    return lambda data: data["annotations"][1].update(changes)


def every_annotation(**changes):
    return lambda data: [entry.update(changes) for entry in data["annotations"]]


def image(**changes):
    return lambda data: data["images"][1].update(changes)


def category(**changes):
    return lambda data: data["categories"][0].update(changes)


def without(key):
    return lambda data: data.pop(key)


def emptied(key):
    return lambda data: data[key].clear()


def fractions(data):
    for entry in data["annotations"]:
        entry["bbox"] = [0.1, 0.2, 0.3, 0.4]


def corners(data):
    for number, entry in enumerate(data["annotations"]):
        entry["bbox"] = [20 + number, 30, 45, 55]


def centres(data):
    boxes = [[6 + 8 * step, 41 - step % 2 * 2, 12, 74] for step in range(11)]
    data["annotations"] = [
        {"id": number, "image_id": 7, "category_id": 4, "bbox": box} for number, box in enumerate(boxes)
    ]


def corners_by_area(data):
    for number, entry in enumerate(data["annotations"]):
        entry.update(bbox=[5 + number, 6, 20, 30], area=(15 - number) * 24)


def outside(data):
    for entry in data["annotations"]:
        entry["bbox"] = [500, 500, 10, 10]


REFUSED = {
    "no images": (without("images"), "has no list 'images'"),
    "no annotations": (without("annotations"), "has no list 'annotations'; it lists images without"),
    "no categories": (without("categories"), "has no list 'categories'"),
    "categories by name": (lambda data: data.update(categories={"cat": 1}), "has no list 'categories'"),
    "empty images": (emptied("images"), "list 'images' is empty"),
    "empty annotations": (emptied("annotations"), "list 'annotations' is empty"),
    "empty categories": (emptied("categories"), "list 'categories' is empty"),
    "an annotation that is a number": (lambda data: data["annotations"].append(5), "entry 4 of 'annotations' is 5"),
    "a category without name": (lambda data: data["categories"][0].pop("name"), "category 90 has the name 'None'"),
    "a category called null": (category(name=None), "category 90 has the name 'None'"),
    "a category of spaces": (category(name=" "), "category 90 has the name ' '"),
    "a category of two names": (category(id=4), "category 4 is both 'toothbrush' and 'boat'; give each"),
    "a category without id": (category(id=None), "entry 1 of 'categories' has the id None"),
    "two ids of a name": (category(name="boat"), "several category ids have the name boat; give each"),
    "an image without id": (image(id=None), "entry 2 of 'images' has the id None"),
    "an image with a list for an id": (image(id=[3]), r"entry 2 of 'images' has the id \[3\]"),
    "an image with a fraction for an id": (image(id=2.5), r"entry 2 of 'images' has the id 2\.5"),
    "two images of an id": (image(id=7), r"two images have the id 7, seven\.jpg and three\.jpg"),
    "two entries of a file": (image(file_name="seven.jpg"), r"two entries of 'images' are of .*seven\.jpg"),
    "an image without name": (image(file_name=None), "image 3 has the file_name 'None'"),
    "an unknown image": (annotation(image_id=1000), "annotation 2 is of image 1000, which is not in 'images'"),
    "an annotation without image": (annotation(image_id=None), "annotation 2 is of image None"),
    "an unknown category": (annotation(category_id=5), "annotation 2 is of category 5, .* or add the category"),
    "a category by name": (annotation(category_id="boat"), "annotation 2 is of category boat"),
    "true for a category": (annotation(category_id=True), "annotation 2 is of category True"),
    "three numbers": (annotation(bbox=[1, 2, 3]), r"annotation 2 has the bbox \[1, 2, 3\], which should be \[x, y"),
    "a rotated box": (annotation(bbox=[1, 2, 3, 4, 45]), r"annotation 2 has the bbox \[1, 2, 3, 4, 45\]"),
    "no box": (lambda data: data["annotations"][1].pop("bbox"), "annotation 2 has the bbox None"),
    "a box of null": (annotation(bbox=None), "annotation 2 has the bbox None"),
    "an empty box": (annotation(bbox=[]), r"annotation 2 has the bbox \[\]"),
    "words in a box": (annotation(bbox=["a", 1, 2, 3]), r"annotation 2 has the bbox \['a', 1, 2, 3\]"),
    "NaN in a box": (annotation(bbox=[float("nan"), 1, 2, 3]), "annotation 2 has the bbox"),
    "infinity in a box": (annotation(bbox=[1, 1, float("inf"), 3]), "annotation 2 has the bbox"),
    "a huge number in a box": (annotation(bbox=[1, 1, 10**400, 3]), "annotation 2 has the bbox"),
    "a box of boxes": (annotation(bbox=[[1, 1, 2, 3]]), "annotation 2 has the bbox"),
    "a box as text": (annotation(bbox="1 2 3 4"), "annotation 2 has the bbox 1 2 3 4"),
    "an annotation without id": (annotation(id=None, bbox=None), r"annotation number 2 \(without id\) has the bbox"),
    "several faults": (every_annotation(bbox=5), "annotation 1 has the bbox 5.*; 2 other annotations have faults"),
    "iscrowd 2": (annotation(iscrowd=2), "annotation 2 has the iscrowd '2', which should be 0 or 1"),
    "iscrowd maybe": (annotation(iscrowd="maybe"), "annotation 2 has the iscrowd 'maybe'"),
    "captions": (every_annotation(bbox=None, caption="a boat"), "holds captions rather than boxes"),
    "panoptic": (every_annotation(bbox=None, segments_info=[]), "holds panoptic segmentations rather than boxes"),
    "fractions": (fractions, "bbox of 3 of 3 annotations lies between 0 and 1, 1, 2, 3: COCO's are in pixels"),
    "a box of fractions": (annotation(bbox=[0.1, 0.2, 0.5, 0.5]), "bbox of 1 of 3 annotations lies between 0 and 1, 2"),
    "corners": (corners, r"its bbox are corners.* 3 of 3 would reach outside .* such as \[20, 30, 45, 55\] of 1"),
    "corners by their area": (corners_by_area, "its bbox are corners .*their areas show"),
    "centres": (
        centres,
        r"its bbox give the centre, as 11 of 11 would .* such as \[6, 41, 12, 74\] of 0",
    ),
    "all outside": (outside, "none of its 3 boxes has an area inside its image"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_by_name(tmp_path, name):
    change, message = REFUSED[name]
    data = two_images()
    change(data)
    write(tmp_path, "val", two_images())
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(data))
    with pytest.raises(DataError, match=rf"instances_val\.json.*{message}"):
        read_coco(tmp_path, "val")


def read_changed(root, change):
    data = two_images()
    change(data)
    write(root, "val", two_images())
    (root / "annotations" / "instances_val.json").write_text(json.dumps(data))
    return read_coco(root, "val")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0", False), (0.0, False), (False, False), (None, False), ("", False), ("false", False), ("False", False)]
    + [("1", True), (1.0, True), (True, True), ("True", True), (" 1 ", True)],
)
def test_a_crowd_flag_may_be_text_or_a_truth_value(tmp_path, value, expected):
    seven, three = read_changed(tmp_path, every_annotation(iscrowd=value))
    assert seven.crowd.tolist() == [expected] and three.crowd.tolist() == [expected] * 2


def test_an_absent_crowd_flag_is_none(tmp_path):
    seven, _ = read_changed(tmp_path, lambda data: data["annotations"][1].pop("iscrowd"))
    assert seven.crowd.tolist() == [False]


@pytest.mark.parametrize("value", [-1, 0, None, "", "unknown", 99.5, float("nan"), float("inf"), True])
def test_a_size_that_is_none_is_read_from_the_image(tmp_path, value, caplog):
    data = two_images()
    write(tmp_path, "val", data)
    Image.new("RGB", (50, 60)).save(tmp_path / "val" / "three.jpg")
    data["images"][1].update(width=value, height=value)
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(data))
    seven, three = read_coco(tmp_path, "val")
    assert (seven.width, seven.height, three.width, three.height) == (100, 80, 50, 60)
    assert three.boxes.tolist() == [[1.5, 2, 11.5, 22.25], [0, 0, 50, 60]]
    assert len(caplog.records) == 1 and "read the sizes of 1 images" in caplog.text and "three.jpg" in caplog.text


def test_a_missing_size_is_read_from_the_image(tmp_path):
    data = two_images()
    write(tmp_path, "val", data)
    for size, entry in zip([(100, 80), (50, 60)], data["images"], strict=True):
        Image.new("RGB", size).save(tmp_path / "val" / entry["file_name"])
        del entry["width"], entry["height"]
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(data))
    assert [(record.width, record.height) for record in read_coco(tmp_path, "val")] == [(100, 80), (50, 60)]
    (tmp_path / "val" / "three.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"three\.jpg cannot be read as an image"):
        read_coco(tmp_path, "val")


@pytest.mark.parametrize(
    "change",
    [
        annotation(image_id="7"),
        annotation(image_id=7.0),
        annotation(image_id="0007"),
        annotation(category_id="4"),
        annotation(category_id=4.0),
        annotation(bbox=["90", "70.0", 30.0, " 30 "]),
        annotation(area="12"),
        annotation(id="two"),
        annotation(id=1),  # repeated, of another object
        annotation(extra={"a": [1]}),
        image(width="50", height=60.0),
        category(id="90"),
        lambda data: [entry.update(id=str(entry["id"])) for entry in data["images"] + data["categories"]],
        lambda data: data["images"].append(dict(data["images"][0])),
        lambda data: data["annotations"].append(dict(data["annotations"][0])),
    ],
)
def test_fields_of_other_types_and_repeated_entries_give_the_same_records(tmp_path, change):
    seven, three = read_changed(tmp_path, change)
    assert (str(seven.image_id), seven.width, seven.height) == ("7", 100, 80)
    assert seven.boxes.tolist() == [[90, 70, 100, 80]] and seven.crowd.tolist() == [True]
    assert seven.area.tolist() == [12] and seven.labels.tolist() == [0]
    assert (three.width, three.height) == (50, 60)
    assert three.boxes.tolist() == [[1.5, 2, 11.5, 22.25], [0, 0, 50, 60]] and three.labels.tolist() == [1, 0]


def test_ids_that_differ_in_type_alone_are_told_apart(tmp_path):
    def change(data):
        data["images"][1]["id"] = "7"
        data["annotations"][0]["image_id"] = data["annotations"][2]["image_id"] = "7"

    seven, three = read_changed(tmp_path, change)
    assert (seven.image_id, three.image_id) == (7, "7")
    assert len(seven.boxes) == 1 and len(three.boxes) == 2
    with pytest.raises(DataError, match="annotation 1 is of image 07"):
        read_changed(tmp_path, lambda data: (change(data), data["annotations"][0].update(image_id="07")))


def test_a_rounded_id_is_none_of_the_ids_that_it_may_have_been(tmp_path):
    def change(data, first=2**53, second=2**53 + 2):
        data["images"][0]["id"], data["images"][1]["id"] = first, second
        for entry in data["annotations"]:
            entry["image_id"] = float(first if entry["image_id"] == 7 else second)

    seven, three = read_changed(tmp_path, change)
    assert (seven.image_id, len(seven.boxes), three.image_id, len(three.boxes)) == (2**53, 1, 2**53 + 2, 2)
    with pytest.raises(DataError, match=r"annotation 1 is of image 9007199254740992\.0, which is not in 'images'"):
        read_changed(tmp_path, lambda data: change(data, second=2**53 + 1))


@pytest.mark.parametrize("value", [-1, 0, None, "", "large", float("nan"), 1e11])
def test_an_area_that_is_none_is_the_boxs(tmp_path, value):
    seven, three = read_changed(tmp_path, every_annotation(area=value))
    assert seven.area.tolist() == [100] and three.area.tolist() == [202.5, 3000]


def test_areas_that_are_not_used_are_counted(tmp_path, caplog):
    read_changed(tmp_path, annotation(area=-1))
    assert "took the box's area where the file gives an impossible one, in 1 annotations, 2" in caplog.text


def test_a_missing_box_is_the_extent_of_the_polygons(tmp_path, caplog):
    polygons = [[90, 75, 100, 70, 95, 80], [92, 70, 93, 71, 94, 72]]
    seven, _ = read_changed(tmp_path, annotation(bbox=None, segmentation=polygons))
    assert seven.boxes.tolist() == [[90, 70, 100, 80]]
    assert "took the extent of the segmentation where there is no bbox, in 1 annotations, 2" in caplog.text
    with pytest.raises(DataError, match="annotation 2 has the bbox None"):
        read_changed(tmp_path, annotation(bbox=None, segmentation={"counts": "abc", "size": [80, 100]}))
    with pytest.raises(DataError, match="annotation 2 has the bbox None"):
        read_changed(tmp_path, annotation(bbox=None, segmentation=[[1, 2, 3]]))
    for segmentation in ([[]], [[10**400, 1, 2, 3]]):
        with pytest.raises(DataError, match="annotation 2 has the bbox None"):
            read_changed(tmp_path, annotation(bbox=None, segmentation=segmentation))


def rotated(**changes):
    """Return a change of annotation 2: a box as CVAT writes it, with an angle and without a segmentation."""
    return annotation(**{"bbox": [40, 30, 40, 20], "attributes": {"rotation": 90.0}, "segmentation": []} | changes)


def test_a_box_that_cvat_has_rotated_is_its_extent(tmp_path, caplog):
    seven, _ = read_changed(tmp_path, rotated())
    assert seven.boxes.tolist() == [[50, 20, 70, 60]] and seven.area.tolist() == [12]
    assert "took the extents of 1 rotated boxes as their boxes, annotations 2" in caplog.text
    seven, _ = read_changed(tmp_path, rotated(attributes={"rotation": 30}))
    assert seven.boxes.tolist()[0] == pytest.approx([37.67949, 21.33975, 82.32051, 58.66025])
    twice = [rotated(), lambda data: data["annotations"].append(dict(data["annotations"][1]))]
    read_changed(tmp_path, lambda data: [change(data) for change in twice])
    assert "left out 1 annotations that are in the file twice, 2" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [{"attributes": {"rotation": value}} for value in (0.0, "left", None, float("nan"))]
    + [{"attributes": ["rotation"]}, {"segmentation": [[40, 30, 80, 30, 80, 50]]}],
)
def test_a_box_that_is_not_rotated_is_kept(tmp_path, changes, caplog):
    seven, _ = read_changed(tmp_path, rotated(**changes))
    assert seven.boxes.tolist() == [[40, 30, 80, 50]] and "rotated" not in caplog.text


def test_boxes_with_a_negative_size_are_dropped_with_a_count(tmp_path, caplog):
    seven, three = read_changed(tmp_path, annotation(bbox=[95, 75, -10, -10]))
    assert len(seven.boxes) == 0 and len(three.boxes) == 2
    assert "dropped 1 boxes without area or wholly outside their image, annotations 2" in caplog.text


def test_clipped_boxes_are_counted_beyond_rounding(tmp_path, caplog):
    read_changed(tmp_path, annotation(bbox=[90, 70, 10.5, 10.9]))
    assert not caplog.records
    read_changed(tmp_path, annotation(bbox=[90, 70, 12, 10]))
    assert "clipped 1 boxes that reach over a pixel outside their image, annotations 2" in caplog.text


def test_a_speck_in_a_corner_of_a_large_set_is_kept(tmp_path, caplog):
    def change(data):
        data["annotations"] += [
            {"id": 10 + number, "image_id": 7, "category_id": 4, "bbox": [1, 1, 5, 5]} for number in range(1000)
        ]
        data["annotations"][1]["bbox"] = [0.25, 0.25, 0.5, 0.5]

    seven, _ = read_changed(tmp_path, change)
    assert seven.boxes[0].tolist() == [0.25, 0.25, 0.75, 0.75]
    assert "kept 1 boxes under a pixel in the corner of their image, annotations 2" in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_json_may_be_in_any_encoding_of_unicode(tmp_path, encoding):
    write(tmp_path, "val", two_images())
    data = two_images()
    data["categories"][1]["name"] = "böat"
    text = json.dumps(data, ensure_ascii=False)
    (tmp_path / "annotations" / "instances_val.json").write_bytes(text.encode(encoding))
    assert coco_classes(tmp_path, "val") == ["böat", "toothbrush"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not complete JSON"),
        (json.dumps(two_images()).encode()[:-40], "is not complete JSON .*; fetch it again"),
        (json.dumps(two_images()).replace("boat", "b\u00f6at").encode("latin-1"), "is not text in UTF-8"),
        (b"[" * 100_000, "is nested too deeply|is not complete JSON"),
        (b"1" * 10_000, "is not complete JSON"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a pointer of Git LFS"),
        (b'[{"image_id": 7, "bbox": [1, 2, 3, 4], "score": 0.5}]', "has no list 'images'; it is a list of detections"),
        (b"[]", "has no list 'images'; it is a list, not an object"),
        (b"null", "has no list 'images'; it is not a file of COCO's instances"),
        (b'{"shapes": [], "imagePath": "a.jpg"}', "has no list 'images'; it is a file of LabelMe"),
        (b'{"images": [{"id": 1, "id": 2}]}', "the key 'id' comes twice in one object"),
        (b'{"annotations": [{"image_id": 1, "id": 1, "caption": "a boat"}], "images": []}', "holds captions"),
    ],
)
def test_a_file_that_is_not_one_of_instances_is_named(tmp_path, content, message):
    path = write(tmp_path, "val", two_images())
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"instances_val\.json(: | ).*({message})"):
        read_coco(tmp_path, "val")


def test_a_test_set_without_objects_is_named_before_training(tmp_path):
    write(tmp_path, "train", two_images())
    data = two_images()
    data["annotations"] = []
    write(tmp_path, "val", data)
    with pytest.raises(DataError, match=r"instances_val\.json: its list 'annotations' is empty"):
        read_data("coco", str(tmp_path), train="train", test="val")
