"""Records from XML files; test_voc_sets.py tests which files a split names."""

import logging

import pytest
import torch

from src.data.records import DataError
from src.data.voc import read_voc, voc_classes
from tests.data.voc_folder import add_image, add_list, add_two_images, object_xml
from tests.support.shared_data import shared_folder


@pytest.fixture
def root(tmp_path):
    add_two_images(tmp_path)
    return tmp_path


def test_boxes_labels_and_flags_are_read(root):
    b, a = read_voc(root, "train")
    assert (b.image_id, a.image_id) == ("b", "a")
    assert a.path == root / "JPEGImages" / "a.jpg" and (a.width, a.height) == (100, 80)
    assert a.boxes.tolist() == [[10, 20, 30, 40], [0, 0, 100, 80]]
    assert b.boxes.tolist() == [[11, 9.5, 50, 60.25]]
    assert a.labels.tolist() == [1, 0] and b.labels.tolist() == [0]
    assert a.difficult.tolist() == [False, True] and b.difficult.tolist() == [False]
    assert not a.crowd.any() and a.area.tolist() == [400, 8000]


def test_labels_follow_the_given_classes(root):
    assert voc_classes(root, "train") == ["cat", "dog"]
    _, a = read_voc(root, "train", ["person", "dog", "cat"])
    assert a.labels.tolist() == [1, 2]


def test_a_class_that_is_not_listed_is_an_error(root):
    with pytest.raises(DataError, match=r"a\.xml.*'dog'.*person, cat"):
        read_voc(root, "train", ["person", "cat"])


def test_part_boxes_of_people_are_not_objects(tmp_path):
    person = (
        "<object><part><name>head</name><bndbox><xmin>1</xmin></bndbox></part><name>person</name>"
        "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object>"
    )
    add_image(tmp_path, "a", person)
    [record] = read_voc(tmp_path, "all")
    assert record.boxes.tolist() == [[0, 1, 3, 4]] and voc_classes(tmp_path, "all") == ["person"]


def test_an_image_without_objects_is_kept(tmp_path):
    add_image(tmp_path, "a")
    [record] = read_voc(tmp_path, "all", ["cat"])
    assert record.boxes.shape == (0, 4) and record.labels.shape == (0,)


def test_boxes_without_area_or_outside_are_dropped_with_one_warning(root, caplog):
    outside = object_xml(box=(101, 5, 120, 20))
    add_image(root, "c", object_xml(box=(30, 5, 30, 9)), object_xml(box=(1, 9, 5, 9)), outside, object_xml("dog"))
    add_image(
        root, "d", object_xml(box=(90, 70, 130, 95)), object_xml(box=(-9, -9, 0, 5)), object_xml(box=(0, 0, 10, 10))
    )
    add_list(root, "val", "c", "d")
    with caplog.at_level(logging.WARNING):
        c, d = read_voc(root, "val", ["cat", "dog"])
    assert c.boxes.tolist() == [[10, 20, 30, 40]] and c.labels.tolist() == [1]
    assert d.boxes.tolist() == [[89, 69, 100, 80], [0, 0, 10, 10]]
    assert len(caplog.records) == 1
    assert "2 boxes without area and 2 wholly outside" in caplog.text and "c.xml, d.xml" in caplog.text
    assert "clipped 1 boxes that reach more than a pixel beyond their image, in d.xml" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation><object>", "cannot be parsed as XML"),
        ("", "cannot be parsed as XML"),
        (f"<annotation>{object_xml('')}</annotation>", "object 1 has no name"),
        (f"<annotation>{object_xml()}<object><name>cat</name></object></annotation>", "object 2 has no bndbox"),
        (f"<annotation>{object_xml()}</annotation>".replace("ymax", "top"), "object 1 lacks one of xmin"),
        (f"<annotation>{object_xml(box=(1, 'two', 3, 4))}</annotation>", "'two' stands where"),
        (f"<annotation>{object_xml(box=(1, 'nan', 3, 4))}</annotation>", "'nan' stands where"),
        (f"<annotation>{object_xml(difficult='maybe')}</annotation>", "'maybe' stands where"),
        (f"<annotation>{object_xml(difficult=2)}</annotation>", "'2' stands where a difficult flag"),
        (
            f"<annotation>{object_xml(box=(1, '2,5', 3, 4))}</annotation>",
            "'2,5' stands where.*point instead of the comma",
        ),
        (f"<annotation>{object_xml(box=(1, '1_0', 30, 40))}</annotation>", "'1_0' stands where"),
        (f"<annotation>{object_xml(box=(1, '', 30, 40))}</annotation>", "'' stands where"),
        (f"<annotation>{object_xml(box=(0.1, 0.25, 0.5, 1))}</annotation>", "object 1 has all its coordinates between"),
        ("<annotation><size><width>wide</width></size></annotation>", "'wide' stands where"),
        ("<annotation><size><width>9.5</width><height>9</height></size></annotation>", "no whole number of pixels"),
        ("<annotations><image name='a'/></annotations>", "<annotations> instead of <annotation>: it is CVAT's XML"),
        ("<opencv_storage/>", "<opencv_storage> instead of <annotation>: it is another format"),
        ("<!DOCTYPE html><html><body><p>404</body></html>", "cannot be parsed as XML .it is a web page"),
        ('<html xmlns="http://www.w3.org/1999/xhtml"/>', "<html> instead of <annotation>: it is a web page"),
        ('{"images": []}', "cannot be parsed as XML .it is JSON"),
        ("<annotation><objects><object/></objects></annotation>", "an object or bndbox stands where none belongs"),
        (f"<annotation>{object_xml()}<bndbox/></annotation>", "an object or bndbox stands where none belongs"),
        ("<annotation><object><name>a</name><robndbox/></object></annotation>", "name, robndbox. Rotated boxes"),
        (object_xml().join(("<annotation>", "</annotation>")).replace("</bndbox>", "</bndbox><bndbox/>"), "2 elements"),
        (
            object_xml().join(("<annotation>", "</annotation>")).replace("</name>", "</name><name>b</name>"),
            "2 elements",
        ),
        ("<annotation><size/><size/></annotation>", "2 elements <size>"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "unknown encoding, 'klingon'"),
    ],
)
def test_defective_xml_is_named(root, text, message):
    (root / "Annotations" / "b.xml").write_text(text)
    with pytest.raises(DataError, match=rf"b\.xml.*{message}"):
        read_voc(root, "train")


def test_further_xml_files_with_faults_are_counted(tmp_path):
    for stem, xmax in {"a": "30", "b": "1,5", "c": "", "d": "30"}.items():
        add_image(tmp_path, stem, object_xml(box=(11, 21, xmax, 40)))
    message = r"b\.xml: object 1: '1,5' stands .* There are faults in 1 more of the 4 XML files: c\.xml$"
    with pytest.raises(DataError, match=message):
        read_voc(tmp_path, "all")


def test_exchanged_corners_are_put_in_order(root, caplog):
    add_image(root, "c", object_xml(box=(30, 40, 11, 21)), object_xml(box=(11, 40, 30, 21)))
    add_list(root, "val", "c")
    [c] = read_voc(root, "val")
    assert c.boxes.tolist() == [[10, 20, 30, 40]] * 2
    assert "exchanged the corners of 2 boxes" in caplog.text and "c.xml" in caplog.text


def test_width_and_height_in_place_of_corners_are_named(tmp_path):
    boxes = [(21 + 5 * step, 31 + 3 * step, 12, 8) for step in range(12)]
    add_image(tmp_path, "a", *(object_xml(box=box) for box in boxes), object_xml(box=(2, 3, 30, 40)))
    with pytest.raises(DataError, match=r"a\.xml: the boxes are x, y, width and height: .* 12 of 13 .* 21, 31, 12, 8"):
        read_voc(tmp_path, "all")


def test_many_exchanged_corners_are_put_in_order(tmp_path, caplog):
    corners = [(5 * step, 40, 100 - 3 * step, 78) for step in range(1, 12)]
    add_image(tmp_path, "a", *(object_xml(box=(*box[2:], *box[:2])) for box in corners))
    [a] = read_voc(tmp_path, "all")
    assert a.boxes.tolist() == [[x1 - 1, 39, x2, 78] for x1, _, x2, _ in corners]
    assert "exchanged the corners of 11 boxes" in caplog.text


def test_a_box_that_cvat_has_rotated_is_its_extent(root, caplog):
    def with_attribute(name, value):
        attribute = f"<attribute><name>{name}</name><value>{value}</value></attribute>"
        return object_xml(box=(41, 31, 80, 50)).replace("</object>", f"<attributes>{attribute}</attributes></object>")

    values = ("0.0", "90.0", "left")
    add_image(root, "c", *(with_attribute("rotation", value) for value in values), with_attribute("age", "90"))
    add_list(root, "val", "c")
    [c] = read_voc(root, "val")
    assert c.boxes.tolist() == [[40, 30, 80, 50], [50, 20, 70, 60], [40, 30, 80, 50], [40, 30, 80, 50]]
    assert "took the extents of 1 rotated boxes as their boxes, in c.xml" in caplog.text


@pytest.mark.parametrize(
    ("text", "difficult"),
    [("1", True), (" true ", True), ("Yes", True), ("1.0", True)]
    + [("0", False), ("Unspecified", False), ("no", False), ("", False)],
)
def test_difficult_may_be_a_number_or_a_word(tmp_path, text, difficult):
    add_image(tmp_path, "a", object_xml(difficult=text))
    assert read_voc(tmp_path, "all")[0].difficult.tolist() == [difficult]


def test_coordinates_may_have_spaces_signs_and_exponents(tmp_path):
    add_image(tmp_path, "a", object_xml(box=(" 11 ", "+21.0", "3e1", "\n40.")))
    assert read_voc(tmp_path, "all")[0].boxes.tolist() == [[10, 20, 30, 40]]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("  traffic light\n", "traffic light"),
        ("R&amp;D &lt;5 &#36;", "R&D <5 $"),
        ("猫", "猫"),
        ("a/b,c=[d]", "a/b,c=[d]"),
    ],
)
def test_class_names_keep_any_characters(tmp_path, written, name):
    add_image(tmp_path, "a", object_xml(written))
    assert voc_classes(tmp_path, "all") == [name]


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("", "utf-8"),
        ("", "utf-8-sig"),
        ("", "utf-16"),
        ("utf-16", "utf-16"),
        ("UTF-16", "utf-16-be"),
        ("utf-16", "utf-8"),
        ("ISO-8859-1", "latin-1"),
        ("windows-1252", "cp1252"),
        ("UTF-8", "utf-8"),
        ("utf-32", "utf-32"),
    ],
)
def test_xml_may_be_in_any_encoding_that_it_declares(tmp_path, declared, encoding):
    add_image(tmp_path, "a")
    head = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    data = f"{head}<annotation>{object_xml('Löwe')}</annotation>".encode(encoding)
    (tmp_path / "Annotations" / "a.xml").write_bytes(data)
    assert voc_classes(tmp_path, "all") == ["Löwe"]


def test_xml_of_multi_byte_encodings_is_read(tmp_path):
    add_image(tmp_path, "a")
    data = f'<?xml version="1.0" encoding="GB2312"?><annotation>{object_xml("猫")}</annotation>'.encode("gb2312")
    (tmp_path / "Annotations" / "a.xml").write_bytes(data)
    assert voc_classes(tmp_path, "all") == ["猫"]


@pytest.mark.parametrize("head", ["", '<?xml version="1.0" encoding="UTF-8"?>'])
def test_undeclared_encodings_are_named(tmp_path, head):
    add_image(tmp_path, "a")
    data = f"{head}\n<annotation>{object_xml('Löwe')}</annotation>".encode("latin-1")
    (tmp_path / "Annotations" / "a.xml").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.xml: line 2 is not UTF-8.*0xF6.*save the file as UTF-8"):
        read_voc(tmp_path, "all")


def test_namespaces_upper_case_and_blank_lines_before_the_declaration_do_not_matter(tmp_path):
    add_image(tmp_path, "a")
    body = object_xml().replace("object>", "Object>").replace("xmin>", "Xmin>")
    text = f'\n<?xml version="1.0"?><Annotation xmlns="http://host/voc">{body}</Annotation>'
    (tmp_path / "Annotations" / "a.xml").write_text(text)
    assert read_voc(tmp_path, "all")[0].boxes.tolist() == [[10, 20, 30, 40]]


def test_the_file_name_in_xml_and_its_suffix_do_not_matter(tmp_path):
    add_image(tmp_path, "a", "<filename>b.png</filename><path>C:\\b.png</path>", object_xml())
    assert read_voc(tmp_path, "all")[0].path.name == "a.jpg"


def test_boxes_that_all_lie_outside_an_exchanged_size_name_both_sizes(tmp_path):
    size = "<size><width>80</width><height>100</height></size>"
    add_image(tmp_path, "a", object_xml(box=(82, 5, 99, 70)), size=size)
    with pytest.raises(DataError, match=r"a\.xml gives .*a\.jpg the size 80×100, outside.* has 100×80 pixels"):
        read_voc(tmp_path, "all")


def test_boxes_of_another_image_are_counted_by_file(tmp_path, caplog):
    add_image(tmp_path, "a", object_xml(box=(205, 5, 230, 70)))
    [a] = read_voc(tmp_path, "all")
    assert (
        len(a.boxes) == 0 and "1 XML files have every box outside and may belong to other images: a.xml" in caplog.text
    )


def test_a_box_in_an_image_one_pixel_high_has_area(tmp_path):
    size = "<size><width>100</width><height>1</height></size>"
    add_image(tmp_path, "a", object_xml(box=(11, 1, 30, 1)), size=size)
    assert read_voc(tmp_path, "all")[0].boxes.tolist() == [[10, 0, 30, 1]]


def test_a_class_that_looks_alike_is_named(tmp_path):
    add_image(tmp_path, "a", object_xml("Cat"))
    with pytest.raises(DataError, match="'Cat' is not one of.*'cat' is, which looks alike"):
        read_voc(tmp_path, "all", ["cat"])


@pytest.mark.parametrize(
    "size", ["", "<size><width>0</width><height>0</height></size>", "<size/>", "<size><width>-1</width></size>"]
)
def test_a_missing_size_is_read_from_the_image(root, caplog, size):
    add_image(root, "c", object_xml(box=(90, 70, 130, 95)), size=size)
    add_list(root, "val", "c", "a")
    c, _ = read_voc(root, "val", ["cat", "dog"])
    assert (c.width, c.height) == (100, 80) and c.boxes.tolist() == [[89, 69, 100, 80]]
    assert len(caplog.records) == 1 and "1 XML files give no image size" in caplog.text
    assert "c.xml" in caplog.text


def test_a_missing_size_of_an_unreadable_image_is_an_error(root):
    add_image(root, "c", object_xml(), size="")
    (root / "JPEGImages" / "c.jpg").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"c\.jpg cannot be read as an image"):
        read_voc(root, "all")


@pytest.mark.slow
def test_bccd_is_read_whole(caplog):
    root = shared_folder("bccd") / "BCCD"
    sizes = {split: len(read_voc(root, split)) for split in ("train", "val", "trainval", "test")}
    assert sizes == {"train": 205, "val": 87, "trainval": 292, "test": 72}
    caplog.clear()
    records = read_voc(root, "trainval+test")
    assert voc_classes(root, "trainval+test") == ["Platelets", "RBC", "WBC"]
    # Of its 4155 RBC two have no area.
    assert torch.bincount(torch.cat([record.labels for record in records])).tolist() == [361, 4155 - 2, 372]
    assert len(caplog.records) == 1 and "dropped 2 boxes without area and 0 wholly outside" in caplog.text
    assert "BloodImage_00338.xml, BloodImage_00343.xml" in caplog.text
    assert all((record.width, record.height) == (640, 480) for record in records)


def test_a_part_of_voc2012_is_read_whole():
    root = shared_folder("voc2012_slice") / "VOCdevkit"
    names = (root.parent / "voc.names").read_text().split()
    records = read_voc(root, "2012_val", names)
    assert len(records) == 100 and sum(len(record.boxes) for record in records) == 273
    assert sum(int(record.difficult.sum()) for record in records) == 38
    assert voc_classes(root, "2012_val") == sorted(names) and len(names) == 20
    first = records[0]
    assert first.image_id == "2007_000027" and (first.width, first.height) == (486, 500)
    assert first.boxes.tolist() == [[173, 100, 349, 351]] and names[first.labels[0]] == "person"
    alone = read_voc(root / "VOC2012", "val")
    assert [record.image_id for record in alone] == [record.image_id for record in records]
