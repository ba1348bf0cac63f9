"""YOLO's data.yaml and the places of its files."""

import os

import yaml

from tests.data.damage.folders import BYTES, FILES, YOLO, Dice, Folder, Outcome, kind, reads, refuses
from tests.data.damage.yolo import lines_of, write_lines
from tests.support.layouts import write_file, yolo_yaml

NO_YAML = (
    "names: [a, b",
    "names: {a: b",
    "names: [a]\n\tnc: 1",
    "names: [a, b]\nnames: [c, d]",
    "? [a, b]\n: c\nnames: [a, b]",
    "? {a: b}\n: c\nnames: [a, b]",
    "names: *none",
    "names: &x [*x]",
    "names: " + "[" * 1200,
    "names: " + "{a: " * 1200,
    "- " * 1200 + "\nnames: [a]",
    'names: ["\\UFFFFFFFF", b]',
    'names: ["\\U00110000", b]',
    'names: ["\\uD83D", b]',
    'names: ["\\x4"]',
    "names: [\x01, b]",
    "names: !!python/object:os.system [a, b]\n  x",
    "%YAML 9.9\n---\nnames: [a, b]",
    "names: [a, b]\n---\nnames: [c]",
    "names: %x",
    "names: `x`",
    "names: @x",
    "\0names: [a]",
    "names:\n  " + "9" * 5000 + ": cat\n  1: dog",
    "names:\n  0: cat\n  00: dog",
    "names:\n  a: cat\n  b: dog",
    "names:\n  -1: cat",
    "names:\n  [0, 1]: cat",
    "names: cat",
    "names:",
    "names: []",
    "names: {}",
    "names: [cat, cat]",
    "names: [cat, ' cat']",
    "names: [cat, '']",
    "names: [[cat], [dog]]",
    "names: [{0: cat}, {1: dog}]",
    "names: [cat, dog]\ntrain: {a: b}",
    "names: [cat, dog]\ntrain: [[a]]",
    "nc: 2",
    "\ufeff\ufeffnames: 5",
)


@kind(*YOLO, stage=BYTES)
def no_yaml(folder: Folder, dice: Dice) -> Outcome:
    """Not YAML, or without names of classes."""
    path = folder.root / "data.yaml"
    folder.spoil(path)
    write_file(path, dice.pick(NO_YAML))
    return refuses(path)


@kind(*YOLO, stage=FILES)
def number_of_classes(folder: Folder, dice: Dice) -> Outcome:
    path = folder.root / "data.yaml"
    folder.spoil(path)
    wrong = (len(folder.classes) + 1, 0, -1, "x", [2], 2.5, 80)
    write_file(path, yolo_yaml(folder.classes, nc=dice.pick(wrong)))
    return refuses(path)


@kind(*YOLO, stage=FILES)
def names_by_index(folder: Folder, dice: Dice) -> Outcome:
    path = folder.root / "data.yaml"
    folder.spoil(path)
    pairs = list(enumerate(folder.classes))
    if dice.number(0, 1):
        pairs.reverse()
    form = dice.pick((int, str, "{:02d}".format))
    names = {form(index): name for index, name in pairs}
    write_file(path, yolo_yaml(folder.classes, names=names, nc=dice.pick((None, len(pairs)))))
    return reads()


@kind(*YOLO, stage=FILES)
def plain_names(folder: Folder, dice: Dice) -> Outcome:
    """Names that YAML would take for truth values, numbers, dates and nothing."""
    path = folder.root / "data.yaml"
    folder.spoil(path)
    words = ("no", "yes", "null", "~", "007", "1.50", "2020-01-01", "on", "0x1F", "1e3", ".inf", "y", "True")
    names = [words[(dice.number(0, 12) + 4 * number) % 13] for number in range(len(folder.classes))]
    if len(set(names)) < len(names):
        names = list(words[: len(names)])
    write_file(path, "train: images/train\ntest: images/test\nnames:\n" + "".join(f"- {name}\n" for name in names))
    of = dict(zip(folder.classes, names, strict=True))
    for thing in (thing for pictures in folder.splits.values() for picture in pictures for thing in picture.things):
        thing.name = of[thing.name]
    folder.classes = names
    return reads()


@kind(*YOLO, stage=FILES)
def names_in_a_list(folder: Folder, dice: Dice) -> Outcome:
    """Without data.yaml, classes.txt or obj.names has the names."""
    path = folder.root / "data.yaml"
    folder.spoil(path)
    path.unlink()
    text = "".join(f"{name}\n" for name in folder.classes).replace("\n", dice.pick(("\n", "\r\n", " \n")))
    name = dice.pick(("classes.txt", "obj.names", "labels/classes.txt"))
    write_file(folder.root / name, text.encode(dice.pick(("utf-8", "utf-8-sig", "utf-16"))))
    return reads()


@kind(*YOLO, stage=FILES)
def missing_names(folder: Folder, dice: Dice) -> Outcome:
    folder.spoil(folder.root / "data.yaml")
    (folder.root / "data.yaml").unlink()
    return refuses(folder.root)


@kind(*YOLO, stage=FILES)
def places_of_another_machine(folder: Folder, dice: Dice) -> Outcome:
    """Entries of data.yaml for places that do not exist here."""
    path = folder.root / "data.yaml"
    folder.spoil(path)
    form = dice.pick(("/home/me/{}/images", "../{}/images", "nowhere/{}", "C:\\data\\{}", "images/{}s", "~/{}"))
    base = dice.pick((None, "/home/me/data", "..", "no\0where", "http://host/"))
    write_file(path, yolo_yaml(folder.classes, path=base, train=form.format("train"), test=form.format("test")))
    return reads("which does not exist; taken from", "data.yaml")


@kind(*YOLO, stage=FILES)
def places_relative_to_another_folder(folder: Folder, dice: Dice) -> Outcome:
    """As Roboflow and Ultralytics write them."""
    path = folder.root / "data.yaml"
    folder.spoil(path)
    base, form = dice.pick(
        (
            ("images", "{}"),
            (".", "images/{}"),
            (None, "../images/{}"),
            (None, "./images/{}"),
            (None, "images\\{}"),
            (str(folder.root), "images/{}"),
            (None, str(folder.root / "images" / "{}")),
            ("/home/me/data", "images/{}"),
        )
    )
    as_list = dice.number(0, 1)
    places = {split: [form.format(split)] if as_list else form.format(split) for split in folder.splits}
    write_file(path, yolo_yaml(folder.classes, path=base, **places))
    return reads()


@kind(*YOLO, stage=FILES)
def yaml_of_another_name(folder: Folder, dice: Dice) -> Outcome:
    folder.spoil(folder.root / "data.yaml")
    (folder.root / "data.yaml").rename(folder.root / dice.pick(("my data.yaml", "dataset.yml", "data.yml", "x.yaml")))
    return reads()


@kind(*YOLO, stage=FILES)
def two_yaml_files(folder: Folder, dice: Dice) -> Outcome:
    folder.spoil(folder.root / "data.yaml")
    content = (folder.root / "data.yaml").read_bytes()
    write_file(folder.root / "data.yml", content)
    return refuses("data.yml")


@kind(*YOLO, stage=BYTES)
def yaml_in_another_encoding(folder: Folder, dice: Dice) -> Outcome:
    path = folder.root / "data.yaml"
    text = folder.spoil(path).decode().replace("\n", dice.pick(("\n", "\r\n")))
    write_file(path, text.encode(dice.pick(("utf-8-sig", "utf-16"))))
    return reads()


@kind(*YOLO, stage=BYTES)
def yaml_in_no_unicode(folder: Folder, dice: Dice) -> Outcome:
    path = folder.root / "data.yaml"
    write_file(path, b"# \xf6\n" + folder.spoil(path))
    return refuses(path)


@kind(*YOLO)
def labels_of_no_image(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    path = folder.notes(picture).with_name(dice.pick(("zebra.txt", "aa.txt", "a b.txt")))
    write_file(path, folder.notes(picture).read_bytes())
    return reads("1 label files have no image", path.name)


@kind(*YOLO)
def suffix_of_labels(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    path = folder.notes(picture)
    path.rename(path.with_name(dice.pick((path.stem + ".TXT", path.stem.upper() + ".txt"))))
    return reads()


@kind(*YOLO)
def images_of_one_stem(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    path = folder.image(picture).with_suffix(dice.pick((".jpg", ".PNG", ".bmp")))
    write_file(path, picture.content)
    return refuses(path)


@kind(*YOLO)
def name_in_no_unicode(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    path = os.fsencode(folder.image(picture))
    os.rename(path, path.replace(b".png", b"\xe9.png"))
    path = os.fsencode(folder.notes(picture))
    os.rename(path, path.replace(b".txt", b"\xe9.txt"))
    return refuses(f"{picture.stem}\\xe9")


@kind(*YOLO, stage=FILES)
def link_to_a_folder_above(folder: Folder, dice: Dice) -> Outcome:
    place = folder.root / "images" / dice.pick(("train", "test"))
    link = place / dice.pick(("again", "sub/again"))
    link.parent.mkdir(exist_ok=True)
    os.symlink(place, link)
    return reads()


@kind(*YOLO, stage=FILES)
def keypoints(folder: Folder, dice: Dice) -> Outcome:
    path = folder.root / "data.yaml"
    folder.spoil(path)
    shape = dice.pick(([2, 3], [4, 2], [1, 3], ["9" * 5000, 3], "x", [17], [0, 0], [-1, 3]))
    write_file(path, yolo_yaml(folder.classes, kpt_shape=shape))
    if len(shape) == 2 and shape[0] in (1, 2, 4):
        picture = folder.take(dice)
        points = " 0.5" * shape[0] * shape[1]
        write_lines(folder, picture, [line + points for line in lines_of(folder, picture)])
    return reads()


@kind(*YOLO, stage=FILES)
def set_in_a_list(folder: Folder, dice: Dice) -> Outcome:
    """A set may be a list of images instead of a folder."""
    path = folder.root / "data.yaml"
    folder.spoil(path)
    split = dice.pick(list(folder.splits))
    form = dice.pick(("images/{}/{}", "./images/{}/{}", "/home/me/images/{}/{}", "images\\{}\\{}"))
    lines = "".join(f"{form.format(split, picture.name)}\n" for picture in folder.splits[split])
    text = lines.replace("\n", dice.pick(("\n", "\r\n", " \n\n")))
    write_file(folder.root / "set.txt", text.encode(dice.pick(("utf-8", "utf-8-sig", "utf-16"))))
    entries = yaml.safe_load(path.read_text()) | {split: "set.txt"}
    write_file(path, yaml.safe_dump(entries, allow_unicode=True, sort_keys=False))
    return reads()


@kind(*YOLO, stage=FILES)
def set_in_a_list_of_nothing(folder: Folder, dice: Dice) -> Outcome:
    path = folder.root / "data.yaml"
    folder.spoil(path)
    split = dice.pick(list(folder.splits))
    names = [f"images/{split}/{picture.name}" for picture in folder.splits[split]]
    lines = dice.pick(
        ([*names, "zebra.png"], [*names, names[0]], [], [*names, "x\0y.png"], ["images"], [*names, f"./{names[0]}"])
    )
    write_file(folder.root / "set.txt", "".join(f"{line}\n" for line in lines))
    write_file(path, yolo_yaml(folder.classes, **{split: "set.txt"}))
    return refuses("set.txt", "images")
