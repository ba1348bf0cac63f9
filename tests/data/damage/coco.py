"""COCO's JSON: entries that are missing, repeated or of nothing, boxes, and the images' names."""

import copy

import hypothesis

from tests.data.damage.folders import COCO, FILES, Dice, Folder, Outcome, kind, reads, refuses
from tests.support.layouts import Picture


def refuse(folder: Folder, picture: Picture) -> Outcome:
    """Expect a refusal with the name of a picture's JSON file."""
    return refuses(folder.notes(picture))


def take_all(folder: Folder, dice: Dice) -> str:
    """Return a split of which no picture is damaged yet."""
    split = dice.pick(list(folder.splits))
    for _ in range(len(folder.splits[split])):
        folder.take(dice, split)
    return split


@kind(*COCO)
def missing_key(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    with folder.edited_json(folder.split_of(picture)) as content:
        keys = {"annotations": ("image_id", "category_id", "bbox"), "images": ("id", "file_name")}
        keys |= {"categories": ("id", "name")}
        part = dice.pick(list(keys))
        entries = {"annotations": folder.annotations(content, picture), "images": [folder.entry(content, picture)]}
        entry = dice.pick(entries.get(part) or content["categories"][1:])
        key = dice.pick(keys[part])
        if dice.number(0, 1):
            del entry[key]
        else:
            entry[key] = None
    return refuse(folder, picture)


@kind(*COCO)
def missing_key_of_no_need(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    with folder.edited_annotation(picture, dice.pick(picture.things)) as entry:
        entry.pop(dice.pick(("iscrowd", "area", "id", "segmentation")))
    return reads()


@kind(*COCO, stage=FILES)
def missing_list_of_json(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    folder.spoil(folder.notes(picture))
    with folder.edited_json(folder.split_of(picture)) as content:
        key = dice.pick(("images", "annotations", "categories"))
        value = dice.pick((None, [], {}, "x", 3, [3], [None], [[]], ["x"]))
        content[key] = value
        if value is None:
            del content[key]
    return refuse(folder, picture)


@kind(*COCO)
def dangling_id(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    with folder.edited_annotation(picture, dice.pick(picture.things)) as entry:
        key = dice.pick(("image_id", "category_id"))
        entry[key] = dice.pick((99, -1, "99", "x", 1.5, True, [1], {}, 10**400, "1e0", 1e300))
    return refuse(folder, picture)


@kind(*COCO)
def image_listed_twice(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    with folder.edited_json(folder.split_of(picture)) as content:
        entry = folder.entry(content, picture)
        content["images"].append(copy.deepcopy(entry))
        number = str(entry["id"])
    return reads("left out 1 repeated entries of images", number)


@kind(*COCO)
def image_id_twice(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    with folder.edited_json(folder.split_of(picture)) as content:
        entry = folder.entry(content, picture)
        content["images"].append(entry | dice.pick(({"file_name": "zebra.png"}, {"width": 99}, {"height": None})))
    return refuse(folder, picture)


@kind(*COCO)
def image_of_two_ids(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    with folder.edited_json(folder.split_of(picture)) as content:
        entry = folder.entry(content, picture)
        content["images"].append(entry | {"id": dice.pick((99, "x", -5))})
    return refuse(folder, picture)


@kind(*COCO)
def annotation_twice(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    with folder.edited_json(folder.split_of(picture)) as content:
        entry = dice.pick(folder.annotations(content, picture))
        content["annotations"].append(copy.deepcopy(entry))
    return reads("left out 1 annotations that are in the file twice", str(entry["id"]))


@kind(*COCO)
def annotation_under_two_ids(folder: Folder, dice: Dice) -> Outcome:
    """Two objects, as the file has it, and as COCO's own evaluation counts them."""
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    with folder.edited_json(folder.split_of(picture)) as content:
        entry = folder.annotations(content, picture)[picture.things.index(thing)]
        content["annotations"].append(entry | {"id": 777})
    picture.things.append(copy.copy(thing))
    return reads()


@kind(*COCO)
def annotations_of_one_id(folder: Folder, dice: Dice) -> Outcome:
    """Ids of annotations are of no use here."""
    picture = folder.take(dice)
    with folder.edited_json(folder.split_of(picture)) as content:
        for entry in folder.annotations(content, picture):
            entry["id"] = dice.pick((1, "x", 0))
    return reads()


@kind(*COCO)
def box_of_other_type(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    box = thing.xywh
    nothing = (None, [], {}, 5, "1,2,3,4", box[:3], [*box, 1], [box], [None, *box[1:]], ["x", *box[1:]])
    numbers = (float("nan"), float("inf"), 10**400, True, [1], "", "1_0", "nan", "1,5", "0x1")
    wrong = [*nothing, *([number, *box[1:]] for number in numbers)]
    with folder.edited_annotation(picture, thing) as entry:
        entry["bbox"] = dice.pick(wrong)
        entry.pop("segmentation")
    return refuse(folder, picture)


@kind(*COCO)
def box_as_text(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    form = dice.pick(("{}", " {} ", "{}.0", "+{}", "{}e0", "{}\n"))
    with folder.edited_annotation(picture, thing) as entry:
        entry["bbox"] = [form.format(number) for number in thing.xywh]
    return reads()


@kind(*COCO)
def box_of_nothing(folder: Folder, dice: Dice) -> Outcome:
    """Negative sizes, no area, wholly outside, thinner than 32 bits can hold."""
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    x, y, w, h = thing.xywh
    width, height = picture.size
    boxes = [(x, y, -w, h), (x, y, -w, -h), (x, y, 0, h), (x, y, w, 0), (width, y, w, h), (x, -h - 1, w, h)]
    boxes += [(-1e308, y, 1e307, h), (1e308, y, 1e308, h), (9, 9, 1e-7, 1e-7), (9, y, 1e-300, h)]
    with folder.edited_annotation(picture, thing) as entry:
        entry["bbox"] = dice.pick(boxes)
        number = str(entry["id"])
    folder.drop_thing(picture, thing)
    return reads("dropped 1 boxes without area or wholly outside", number)


@kind(*COCO)
def box_beyond_its_image(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    (x, y, w, h), (x1, y1, x2, y2) = thing.xywh, thing.box
    width, height = picture.size
    far = dice.number(2, 10**9)
    box, thing.box = dice.pick(
        [
            ((x, y, width + far, h), (x1, y1, width, y2)),
            ((-far, y, far + x + w, h), (0, y1, x2, y2)),
            ((-far, -far, 2 * far + width, 2 * far + height), (0, 0, width, height)),
        ]
    )
    with folder.edited_annotation(picture, thing) as entry:
        entry["bbox"] = box
        thing.area = entry["area"]
        number = str(entry["id"])
    return reads("clipped 1 boxes that reach over a pixel", number)


@kind(*COCO, stage=FILES)
def fractions_in_json(folder: Folder, dice: Dice) -> Outcome:
    split = take_all(folder, dice)
    with folder.edited_json(split) as content:
        sizes = {entry["id"]: (entry["width"], entry["height"]) for entry in content["images"] if "width" in entry}
        for entry in content["annotations"]:
            width, height = sizes.get(entry["image_id"], (40, 40))
            entry["bbox"] = [0.5, 0.25, 5 / float(width or 40), 6 / float(height or 40)]
    return refuses(folder.json(split))


@kind(*COCO)
def corners_in_json(folder: Folder, dice: Dice) -> Outcome:
    """Corners for sizes: their areas show it, or boxes that would reach outside."""
    split = take_all(folder, dice)
    with folder.edited_json(split) as content:
        boxes = {entry["id"]: entry["bbox"] for entry in content["annotations"]}
        for entry in content["annotations"]:
            x, y, w, h = boxes[entry["id"]]
            entry["bbox"] = [x, y, x + w, y + h]
            entry["area"] = w * h
        if not any(x or y for x, y, *_ in boxes.values()):  # corners are sizes
            return reads()
    return refuses(folder.json(split))


@kind(*COCO)
def polygon_without_box(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    x1, y1, x2, y2 = thing.box
    middle = (x1 + x2) / 2
    shape = dice.pick(([[x1, y1, x2, y1, middle, y2]], [[x1, y1, middle, y2, x1, y2], [middle, y1, x2, y1, x2, y2]]))
    with folder.edited_annotation(picture, thing) as entry:
        entry |= {"bbox": dice.pick(([], None)), "segmentation": shape}
        number = str(entry["id"])
    return reads("took the extent of the segmentation where there is no bbox, in 1 annotations", number)


@kind(*COCO)
def shape_without_box(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    shapes = ({"counts": [1, 2], "size": [8, 8]}, {"counts": "abc", "size": [8, 8]}, [[1, 2, 3]], [["a", "b"]], [[]])
    shapes += (7, [[1, 2, float("nan"), 4, 5, 6]], [7])
    with folder.edited_annotation(picture, dice.pick(picture.things)) as entry:
        entry |= {"bbox": dice.pick(([], None)), "segmentation": dice.pick(shapes)}
    return refuse(folder, picture)


@kind(*COCO)
def name_of_another_machine(folder: Folder, dice: Dice) -> Outcome:
    """Folders, addresses and cases that are not those of the files."""
    picture = folder.take(dice)
    forms = ("/home/me/{}", "C:\\data\\{}", "sub/{}", "https://host/a/{}?x=1", "s3://bucket/{}", "../../{}", "./x/{}")
    with folder.edited_image(picture) as entry:
        name = dice.pick((*(form.format(picture.name) for form in forms), picture.name.upper()))
        entry["file_name"] = name
    return reads("found 1 images in another folder, case or extension", name)


@kind(*COCO)
def name_of_nothing(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    names = ("", " ", "zebra.png", "a\0b", "\ud800.png", "http://[::1/x.png", "//", ".", "..", "x/", "\n", "\u202e.png")
    names += ("https://host/", "%00", 3.5, True, None, [], {}, "a" * 5000, "annotations", 12)
    with folder.edited_image(picture) as entry:
        entry["file_name"] = dice.pick(names)
    return refuses(folder.notes(picture), folder.root / "annotations")


@kind(*COCO)
def everything_a_crowd(folder: Folder, dice: Dice) -> Outcome:
    """Nothing to train on, or to find."""
    split = take_all(folder, dice)
    with folder.edited_json(split) as content:
        for entry in content["annotations"]:
            entry["iscrowd"] = 1
    return refuses(*(picture.name for picture in folder.splits[split]), folder.root)


@kind(*COCO, stage=FILES)
def other_ids_in_the_other_file(folder: Folder, dice: Dice) -> Outcome:
    """Classes have the order of the training split's ids; their names connect the two."""
    folder.spoil(folder.json("test"))
    with folder.edited_json("test") as content:
        if not all(isinstance(entry.get("id"), int) for entry in content["categories"]):
            hypothesis.reject()
        ids = sorted(entry["id"] for entry in content["categories"])
        other = dict(zip(ids, ids[::-1], strict=True))
        for entry in content["categories"]:
            entry["id"] = other[entry["id"]]
        for entry in content["annotations"]:
            if entry.get("category_id") in ids:
                entry["category_id"] = other[entry["category_id"]]
    return reads()


@kind(*COCO, stage=FILES)
def root_of_categories(folder: Folder, dice: Dice) -> Outcome:
    """A category that only groups others is no class."""
    for split in folder.splits:
        folder.spoil(folder.json(split))
        with folder.edited_json(split) as content:
            for entry in content["categories"]:
                entry["supercategory"] = "everything"
            content["categories"].insert(0, {"id": 0, "name": "everything", "supercategory": "none"})
            if folder.layout == "roboflow":
                content["categories"].pop(1)
    return reads("supercategories of others", "everything")
