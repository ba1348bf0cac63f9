"""COCO's JSON: values of other types, and the files as texts."""

import json
from typing import Any

from tests.data.damage.coco import refuse
from tests.data.damage.folders import BYTES, COCO, FILES, Dice, Folder, Outcome, kind, reads, refuses
from tests.support.layouts import write_file

CROWD: list[tuple[Any, bool | None]] = [
    *((value, True) for value in (1, 1.0, True, "1", "1.0", "true", " True ")),
    *((value, False) for value in (0, 0.0, False, "0", "0.0", "false", "", None, "None")),
    *((value, None) for value in (2, -1, "yes", [], {}, [1], 0.5, "maybe", 10**400)),
]
CROWD.append((float("nan"), None))
NO_AREAS = (0, -1, -1.0, "", "none", float("nan"), float("inf"), True, [], {}, 10**400)
NO_SIZES = (0, -1, None, "", "wide", [], {}, 0.5, True, float("nan"), float("inf"), 10**400, "1_0", "10px")
OTHER_JSON = (
    "",
    " \n",
    "null",
    "[]",
    "3",
    '"images"',
    "{}",
    '{"images": []}',
    '[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]',
    '{"shapes": [], "imagePath": "a.png"}',
    '{"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "x"}]}',
    '{"images": [{"id": 1}], "annotations": [{"caption": "a dog"}]}',
    "[" * 100_000,
    '{"images":' * 5000,
    "1" * 5000,
    "{'images': []}",
    "<annotation/>",
    "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    '{"images": [], "annotations": [], "categories": []} {}',
)


def other_forms(value: int) -> tuple[Any, ...]:
    """Return an id in other types and writings."""
    return (str(value), float(value), f" {value} ", f"{value}.0", f"00{value}")


@kind(*COCO, stage=FILES)
def ids_of_other_types(folder: Folder, dice: Dice) -> Outcome:
    split = dice.pick(list(folder.splits))
    folder.spoil(folder.json(split))
    with folder.edited_json(split) as content:
        keys = {"annotations": ("image_id", "category_id"), "images": ("id",), "categories": ("id",)}
        part = dice.pick(list(keys))
        key = dice.pick(keys[part])
        form = dice.number(0, 4)
        for entry in content[part]:
            if isinstance(entry.get(key), int):
                entry[key] = other_forms(entry[key])[form]
    return reads()


@kind(*COCO)
def crowd_of_other_types(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    value, crowd = dice.pick(CROWD)
    with folder.edited_annotation(picture, thing) as entry:
        entry["iscrowd"] = value
    if crowd is None:
        return refuse(folder, picture)
    thing.crowd = crowd
    return reads()


@kind(*COCO)
def area_of_other_types(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    thing.area = dice.pick((1.5, 7.0, 12.0))
    with folder.edited_annotation(picture, thing) as entry:
        entry["area"] = dice.pick((thing.area, str(thing.area), f" {thing.area} "))
    return reads()


@kind(*COCO)
def no_area(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    with folder.edited_annotation(picture, dice.pick(picture.things)) as entry:
        entry["area"] = dice.pick(NO_AREAS)
        number = str(entry["id"])
    return reads("took the box's area where the file gives an impossible one, in 1 annotations", number)


@kind(*COCO)
def size_of_other_types(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    with folder.edited_image(picture) as entry:
        side = dice.pick(("width", "height"))
        entry[side] = dice.pick((str(entry[side]), float(entry[side]), f"{entry[side]}.0"))
    return reads()


@kind(*COCO)
def no_size_in_json(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    with folder.edited_image(picture) as entry:
        entry[dice.pick(("width", "height"))] = dice.pick(NO_SIZES)
    return reads("read the sizes of 1 images from the images", picture.name)


@kind(*COCO)
def wrong_size_in_json(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    with folder.edited_image(picture) as entry:
        width, height = picture.size
        entry["width"], entry["height"] = dice.pick([(height, width), (width + 1, height), (width, 10**30)])
    return refuses(picture.name)


@kind(*COCO, stage=FILES)
def categories_of_one_name(folder: Folder, dice: Dice) -> Outcome:
    split = dice.pick(list(folder.splits))
    folder.spoil(folder.json(split))
    with folder.edited_json(split) as content:
        *_, first, second = content["categories"]
        change = (
            {"name": dice.pick((first["name"], f" {first['name']}\n"))} if dice.number(0, 1) else {"id": first["id"]}
        )
        second |= change
    return refuses(folder.json(split))


@kind(*COCO, stage=FILES)
def category_without_objects(folder: Folder, dice: Dice) -> Outcome:
    """A class that no object has is a class still."""
    names = dice.pick((["zebra"], ["zebra", "ape"]))
    for split in folder.splits:
        folder.spoil(folder.json(split))
        with folder.edited_json(split) as content:
            content["categories"] += [{"id": 50 + number, "name": name} for number, name in enumerate(names)]
    folder.classes += names
    return reads()


@kind(*COCO, stage=FILES)
def name_of_a_category(folder: Folder, dice: Dice) -> Outcome:
    split = dice.pick(list(folder.splits))
    folder.spoil(folder.json(split))
    with folder.edited_json(split) as content:
        content["categories"][-1]["name"] = dice.pick((None, "", " \n", [], {}, True, "\ud800", ["cat"]))
    return refuses(folder.json(split))


@kind(*COCO, stage=FILES)
def categories_in_another_order(folder: Folder, dice: Dice) -> Outcome:
    """Classes are in the order of their ids, of which 10 comes after 9."""
    for split in folder.splits:
        folder.spoil(folder.json(split))
        with folder.edited_json(split) as content:
            content["categories"].reverse()
            for entries, key in ((content["categories"], "id"), (content["annotations"], "category_id")):
                for entry in entries:
                    if isinstance(entry.get(key), int) and entry[key] > 0:
                        entry[key] += 8
    return reads()


@kind(*COCO, stage=BYTES)
def json_in_another_encoding(folder: Folder, dice: Dice) -> Outcome:
    path = folder.json(dice.pick(list(folder.splits)))
    text = json.dumps(json.loads(folder.spoil(path)), ensure_ascii=False, indent=dice.pick((None, 1, "\t")))
    encoding = dice.pick(("utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-8"))
    write_file(path, text.replace("\n", dice.pick(("\n", "\r\n"))).encode(encoding))
    return reads()


@kind(*COCO, stage=BYTES)
def json_in_no_unicode(folder: Folder, dice: Dice) -> Outcome:
    path = folder.json(dice.pick(list(folder.splits)))
    text = folder.spoil(path).decode().replace("file_name", 'file_name": "ö", "file_name')
    write_file(path, text.encode("latin-1"))
    return refuses(path)


@kind(*COCO, stage=BYTES)
def truncated_json(folder: Folder, dice: Dice) -> Outcome:
    path = folder.json(dice.pick(list(folder.splits)))
    data = folder.spoil(path)
    write_file(path, data[: dice.number(0, len(data) - 1)])
    return refuses(path)


@kind(*COCO, stage=BYTES)
def other_json(folder: Folder, dice: Dice) -> Outcome:
    path = folder.json(dice.pick(list(folder.splits)))
    folder.spoil(path)
    write_file(path, dice.pick(OTHER_JSON))
    return refuses(path)


@kind(*COCO, stage=BYTES)
def key_twice_in_json(folder: Folder, dice: Dice) -> Outcome:
    path = folder.json(dice.pick(list(folder.splits)))
    text = folder.spoil(path).decode()
    key, value = dice.pick((('"bbox":', "[1, 2, 3, 4]"), ('"images":', "[]"), ('"category_id":', "1"), ('"id":', "1")))
    write_file(path, text.replace(key, f"{key} {value}, {key}", 1))
    return refuses(path)


@kind(*COCO, stage=BYTES)
def json_in_the_place_of_another(folder: Folder, dice: Dice) -> Outcome:
    """The training split's annotations in the place of the test split's: images and a list that do not agree."""
    first, second = dice.pick((("train", "test"), ("test", "train")))
    folder.spoil(folder.json(second))
    write_file(folder.json(second), folder.spoil(folder.json(first)))
    return refuses(folder.json(second))


@kind(*COCO, stage=BYTES)
def missing_json(folder: Folder, dice: Dice) -> Outcome:
    split = dice.pick(list(folder.splits))
    folder.spoil(folder.json(split))
    folder.json(split).unlink()
    return refuses(folder.root)
