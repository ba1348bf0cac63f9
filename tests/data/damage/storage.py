"""What disks, tools and systems do to files of any kind."""

from pathlib import Path

from tests.data.damage.folders import ALL, BYTES, COCO, FILES, XML, YOLO, Dice, Folder, Outcome, kind, reads, refuses
from tests.data.damage.folders import reads_or_refuses as either
from tests.support.layouts import Picture, write_file, write_layout


def pick_text(folder: Folder, dice: Dice) -> tuple[Path, Picture]:
    """Return a text file that matters, and the picture of which it is one."""
    picture = folder.take(dice)
    paths = [folder.notes(picture)]
    paths += [folder.set_list(folder.split_of(picture))] if folder.layout == "voc" else []
    paths += [folder.root / "data.yaml"] if folder.layout in YOLO else []
    return dice.pick(paths), picture


@kind(*ALL, stage=BYTES)
def zeros_at_the_end(folder: Folder, dice: Dice) -> Outcome:
    """As a crash leaves them while a file is written."""
    path, _ = pick_text(folder, dice)
    write_file(path, folder.spoil(path) + bytes(dice.number(1, 600)))
    return refuses(path)


@kind(*ALL, stage=BYTES)
def zeros_from_some_byte_on(folder: Folder, dice: Dice) -> Outcome:
    path, _ = pick_text(folder, dice)
    data = folder.spoil(path)
    start = dice.number(0, len(data.rstrip()) - 1)
    write_file(path, data[:start] + bytes(len(data) - start))
    return refuses(path)


@kind(*ALL, stage=BYTES)
def zeros_in_an_image(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    data = picture.content
    start = dice.number(0, len(data) - 1)
    write_file(folder.image(picture), data[:start] + bytes(len(data) - start))
    return either(picture.name)


@kind(*ALL)
def more_after_an_image(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    more = dice.pick((bytes(100), b"\n", picture.content, b"<html>"))
    write_file(folder.image(picture), picture.content + more)
    return reads()


@kind(*ALL, stage=BYTES)
def written_twice(folder: Folder, dice: Dice) -> Outcome:
    path, picture = pick_text(folder, dice)
    write_file(path, folder.spoil(path) * 2)
    if path == folder.notes(picture) and folder.layout in YOLO:
        return reads("lines that are in their label file twice", picture.name)
    return refuses(path)


@kind(*ALL, stage=BYTES)
def conflict_of_git(folder: Folder, dice: Dice) -> Outcome:
    path, _ = pick_text(folder, dice)
    data = folder.spoil(path)
    write_file(path, b"<<<<<<< HEAD\n" + data + b"=======\n" + data + b">>>>>>> other\n")
    return refuses(path)


@kind(*ALL, stage=BYTES)
def folder_in_the_place_of_a_file(folder: Folder, dice: Dice) -> Outcome:
    """Of a file that is named; else there is none."""
    path, picture = pick_text(folder, dice)
    folder.spoil(path)
    path.unlink()
    path.mkdir()
    if folder.layout == "flat":
        folder.drop(picture)
        return reads("1 images have no XML file", picture.name)
    return refuses(path, picture.stem, folder.root)


@kind(*ALL, stage=FILES)
def files_that_systems_leave(folder: Folder, dice: Dice) -> Outcome:
    """macOS, Windows, NAS and Jupyter."""
    folders = [folder.root, *(path for path in folder.root.rglob("*") if path.is_dir())]
    files = [path for path in folder.root.rglob("*") if path.is_file()]
    apple_double = b"\0\x05\x16\x07\0\x02\0\0Mac OS X"
    for place in folders:
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", ".ipynb_checkpoints/x.txt", "@eaDir/x.png"):
            write_file(place / name, apple_double)
    for file in files:
        hidden = file.with_name(f"._{file.name}")
        write_file(hidden, apple_double)
        write_file(folder.root / "__MACOSX" / hidden.relative_to(folder.root), apple_double)
        if dice.number(0, 1):
            write_file(file.with_name(f"{file.name}:Zone.Identifier"), b"[ZoneTransfer]\r\nZoneId=3\r\n")
    return reads()


@kind(*ALL, stage=FILES)
def two_formats(folder: Folder, dice: Dice) -> Outcome:
    """The same data in another format in the same folder: which is meant cannot be known."""
    formats = (("voc",), ("flat",), COCO, YOLO)
    other = dice.pick([name for names in formats if folder.layout not in names for name in names])
    write_layout(other, folder.root, folder.splits, folder.classes)
    return refuses(folder.root)


@kind(*XML, *COCO)
def accents_written_otherwise(folder: Folder, dice: Dice) -> Outcome:
    """A name whose letters Unicode composes in one file and takes apart in another, as macOS does."""
    picture = folder.take(dice)
    composed, apart = "\u00e9", "e\u0301"
    notes, image = folder.notes(picture), folder.image(picture)
    if folder.layout in COCO:
        with folder.edited_image(picture) as entry:
            entry["file_name"] = f"{composed}.png"
        image.rename(image.with_name(f"{apart}.png"))
        picture.name = f"{apart}.png"
        return reads("found 1 images in another folder, case or extension", f"{composed}.png")
    notes.rename(notes.with_name(f"{composed}.xml"))
    image.rename(image.with_name(f"{apart}.png"))
    if folder.layout == "voc":
        path = folder.set_list(folder.split_of(picture))
        folder.spoil(path)
        folder.edit(path, f"{picture.stem}\n", f"{composed}\n")
    return refuses(composed, f"{apart}.png")
