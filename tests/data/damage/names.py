"""Names of classes and files in any characters."""

import unicodedata

from hypothesis import strategies as st

from tests.data.damage.folders import ALL, COCO, FILES, XML, YOLO, Dice, Folder, Outcome, kind, reads, refuses
from tests.data.damage.images import rename
from tests.data.damage.xml import rewrite
from tests.support.layouts import write_file, yolo_yaml

# All that XML can hold, which is less than JSON and YAML can.
CHARACTERS = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff") | st.sampled_from(
    "\t\n\r"
)
NAMES = st.text(CHARACTERS, min_size=1, max_size=12).filter(lambda name: name.strip())
FILE_NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\.\0"), min_size=1, max_size=12
)


def rename_classes(folder: Folder, names: list[str]) -> None:
    """Give the classes other names everywhere."""
    of = dict(zip(folder.classes, names, strict=True))
    for split, pictures in folder.splits.items():
        for picture in pictures:
            for thing in picture.things:
                thing.name = of[thing.name]
            if folder.layout in XML:
                rewrite(folder, picture)
        if folder.layout in COCO:
            with folder.edited_json(split) as content:
                for entry in content["categories"]:
                    entry["name"] = of.get(entry["name"], entry["name"])
    folder.classes = sorted(of.values()) if folder.layout in XML else list(of.values())
    if folder.layout in YOLO:
        write_file(folder.root / "data.yaml", yolo_yaml(folder.classes))


def take_all(folder: Folder, dice: Dice) -> None:
    """Keep other damages off the objects."""
    for split, pictures in folder.splits.items():
        for _ in range(len(pictures)):
            folder.take(dice, split)
        if folder.layout in COCO:
            folder.spoil(folder.json(split))
    if folder.layout in YOLO:
        folder.spoil(folder.root / "data.yaml")


@kind(*ALL)
def classes_in_any_characters(folder: Folder, dice: Dice) -> Outcome:
    """What an exporter wrote, without the spaces around it."""
    take_all(folder, dice)
    count = len(folder.classes)
    names = dice.draw(st.lists(NAMES, min_size=count, max_size=count, unique_by=str.strip))
    rename_classes(folder, names)
    stripped = {name: name.strip() for name in names}
    for pictures in folder.splits.values():
        for thing in (thing for picture in pictures for thing in picture.things):
            thing.name = stripped[thing.name]
    folder.classes = [stripped[name] for name in folder.classes]
    if folder.layout in XML:
        folder.classes.sort()
    return reads()


@kind(*ALL)
def classes_that_look_alike(folder: Folder, dice: Dice) -> Outcome:
    """Different classes, as the files say, and most likely one that is misspelt."""
    take_all(folder, dice)
    first, second = dice.pick(
        (("Cat", "cat"), ("é", "e\u0301"), ("a b", "a  b"), ("ＡＢ", "AB"), ("straße", "STRASSE"))
    )
    rename_classes(folder, [first, second, *folder.classes[2:]])
    return reads(repr(first), repr(second), "differ only in")


@kind(*ALL)
def files_in_any_characters(folder: Folder, dice: Dice) -> Outcome:
    """In JSON and lists too; sorted where the folder decides."""
    picture = folder.take(dice, "train")
    stem = dice.draw(FILE_NAMES.filter(lambda name: usable(name, folder)))
    notes = folder.notes(picture)
    old = picture.stem
    rename(folder, picture, f"{stem}.png")
    if folder.layout not in COCO:
        notes.rename(notes.with_name(stem + notes.suffix))
    if folder.layout == "voc":
        folder.spoil(folder.set_list("train"))
        folder.edit(folder.set_list("train"), f"{old}\n", f"{stem}\n")
    if folder.layout in (*YOLO, "flat"):
        folder.splits["train"].sort(key=lambda other: other.name)
    return reads()


def usable(name: str, folder: Folder) -> bool:
    """Return whether a file can have a name: not one that systems leave behind, or that a list would take apart."""
    stems = [picture.stem for pictures in folder.splits.values() for picture in pictures]
    alike = {unicodedata.normalize("NFC", stem).casefold() for stem in stems}
    return (
        name.strip() == name
        and len(name.encode()) < 200
        and unicodedata.normalize("NFC", name).casefold() not in alike
        and not name.isspace()
    )


@kind(*XML, *YOLO, stage=FILES)
def two_images_of_one_name(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    path = folder.image(picture).with_suffix(dice.pick((".jpg", ".bmp", ".tif")))
    write_file(path, picture.content)
    return refuses(path)
