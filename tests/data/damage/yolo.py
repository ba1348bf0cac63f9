"""YOLO's label files: lines that are no boxes, other shapes, other spaces."""

from tests.data.damage.folders import BYTES, FILES, YOLO, Dice, Folder, Outcome, kind, reads, refuses
from tests.support.layouts import Picture, Thing, write_file, yolo_lines

NO_CLASSES = ("-1", "0.5", "cat", "nan", "99", "1e30", "", "0x0", "1_0", "True", "-0.5", "9" * 400)
NO_FRACTIONS = ("nan", "inf", "-0.2", "1.2", "x", "0,5", "1_0", "9" * 400, "1e400", "50%", "(0.5", "+-0.5")


def lines_of(folder: Folder, picture: Picture) -> list[str]:
    """Return the lines of a picture's labels as its objects are."""
    return yolo_lines(picture, folder.classes)


def write_lines(folder: Folder, picture: Picture, lines: list[str]) -> str:
    """Write a picture's label file, and return its name."""
    write_file(folder.notes(picture), "".join(f"{line}\n" for line in lines))
    return folder.notes(picture).name


def replace_line(folder: Folder, picture: Picture, thing: Thing, line: str) -> str:
    """Write another line for an object, and return the name of the label file."""
    lines = lines_of(folder, picture)
    lines[picture.things.index(thing)] = line
    return write_lines(folder, picture, lines)


def fractions_of(folder: Folder, picture: Picture, thing: Thing) -> tuple[str, list[float]]:
    """Return the index of an object's class, and its corners in fractions of the image's size."""
    (width, height), (x1, y1, x2, y2) = picture.size, thing.box
    return str(folder.classes.index(thing.name)), [x1 / width, y1 / height, x2 / width, y2 / height]


def line_of(index: str, corners: list[float]) -> str:
    """Return a line from corners in fractions."""
    x1, y1, x2, y2 = corners
    return f"{index} {(x1 + x2) / 2} {(y1 + y2) / 2} {x2 - x1} {y2 - y1}"


@kind(*YOLO)
def missing_labels(folder: Folder, dice: Dice) -> Outcome:
    """An image without labels has no objects, as YOLO's programs take it."""
    picture = folder.take(dice)
    folder.notes(picture).unlink()
    picture.things = []
    return reads("1 images have no label file", picture.name)


@kind(*YOLO)
def empty_labels(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    write_file(folder.notes(picture), dice.pick((b"", b"\n", b" \r\n", b"\xef\xbb\xbf", b"\xff\xfe")))
    picture.things = []
    return reads()


@kind(*YOLO)
def all_labels_missing(folder: Folder, dice: Dice) -> Outcome:
    split = dice.pick(list(folder.splits))
    for _ in range(len(folder.splits[split])):
        folder.notes(folder.take(dice, split)).unlink()
    return refuses(*(picture.stem + ".txt" for picture in folder.splits[split]))


@kind(*YOLO)
def all_labels_empty(folder: Folder, dice: Dice) -> Outcome:
    """Nothing to train on, or to find."""
    split = dice.pick(list(folder.splits))
    for _ in range(len(folder.splits[split])):
        write_file(folder.notes(folder.take(dice, split)), b"")
    return refuses(*(picture.name for picture in folder.splits[split]), folder.root)


@kind(*YOLO)
def no_class(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    line = lines_of(folder, picture)[picture.things.index(thing)]
    return refuses(replace_line(folder, picture, thing, f"{dice.pick(NO_CLASSES)} {line.partition(' ')[2]}"))


@kind(*YOLO)
def no_fraction(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    fields = lines_of(folder, picture)[picture.things.index(thing)].split()
    fields[dice.number(1, 4)] = dice.pick(NO_FRACTIONS)
    return refuses(replace_line(folder, picture, thing, " ".join(fields)))


@kind(*YOLO)
def pixels_for_fractions(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    line = " ".join(map(str, (folder.classes.index(thing.name), *thing.xywh)))
    return refuses(replace_line(folder, picture, thing, line))


@kind(*YOLO)
def other_number_of_columns(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    fields = lines_of(folder, picture)[picture.things.index(thing)].split()
    more = dice.pick((["0.9"], ["1"], ["0.5", "0.5", "1"], ["cat"], ["#", "cat"]))
    fields = dice.pick((fields[:1], fields[:3], fields[:4], fields + more))
    return refuses(replace_line(folder, picture, thing, " ".join(fields)))


@kind(*YOLO)
def two_further_columns(folder: Folder, dice: Dice) -> Outcome:
    """Such as a flag and a score: no triangle, which the same number of columns would be."""
    for split in folder.splits:
        for _ in range(len(folder.splits[split])):
            picture = folder.take(dice, split)
            more = f" {dice.number(0, 1)} 0.{dice.number(1, 9)}"
            write_lines(folder, picture, [line + more for line in lines_of(folder, picture)])
    return refuses(*(picture.stem + ".txt" for pictures in folder.splits.values() for picture in pictures))


@kind(*YOLO)
def polygon(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    index, (x1, y1, x2, y2) = fractions_of(folder, picture, thing)
    points = dice.pick(
        [
            [x1, y1, x2, y1, x2, y2, x1, y2],
            [x1, y1, x2, (y1 + y2) / 2, x1, y2, (x1 + x2) / 2, y2],
            [x1, y2, x2, y1, x2, y1, (x1 + x2) / 2, y1, x1, y1],
        ]
    )
    name = replace_line(folder, picture, thing, " ".join(map(str, (index, *points))))
    return reads("took the extents of 1 polygons or rotated boxes", name.replace(".txt", ".png"))


@kind(*YOLO)
def box_beyond_its_image_in_fractions(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    index, (x1, y1, _, y2) = fractions_of(folder, picture, thing)
    # The centre stays inside, and the sizes below 1.
    corners = [x1, y1, min(2 - x1, x1 + 0.99), y2]
    name = replace_line(folder, picture, thing, line_of(index, corners))
    thing.box = (thing.box[0], thing.box[1], picture.size[0], thing.box[3])
    beyond = corners[2] * picture.size[0] - picture.size[0] > 1.001
    thing.box = (*thing.box[:2], min(corners[2], 1) * picture.size[0], thing.box[3])
    return reads("clipped 1 boxes that reach over a pixel", name) if beyond else reads()


@kind(*YOLO)
def box_without_area_in_fractions(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    index, (x1, y1, x2, y2) = fractions_of(folder, picture, thing)
    lines = [f"{index} {x1} {y1} 0 0", f"{index} {x1} {y1} {x2 - x1} 0.0", f"{index} 0.5 0.5 1e-9 0.1"]
    lines += [f"{index} 1.005 0.5 0.001 0.5", f"{index} 0.9 0.9 -0.001 0.01", f"{index} 0.8 0.8 1e-300 0.1"]
    name = replace_line(folder, picture, thing, dice.pick(lines))
    folder.drop_thing(picture, thing)
    return reads("dropped 1 boxes without area or wholly outside", name)


@kind(*YOLO)
def line_twice(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    lines = lines_of(folder, picture)
    line = dice.pick(lines)
    name = write_lines(folder, picture, [*lines, dice.pick((line, f" {line}", line.replace(" ", "\t")))])
    return reads("left out 1 lines that are in their label file twice", name.replace(".txt", ".png"))


@kind(*YOLO)
def corners_for_centres(folder: Folder, dice: Dice) -> Outcome:
    """As centres and sizes, most would reach outside."""
    split = dice.pick(list(folder.splits))
    for _ in range(len(folder.splits[split])):
        picture = folder.take(dice, split)
        for thing in picture.things:
            thing.box = (picture.size[0] - 4, picture.size[1] - 4, picture.size[0], picture.size[1])
        parts = [fractions_of(folder, picture, thing) for thing in picture.things]
        write_lines(folder, picture, [" ".join(map(str, (index, *corners))) for index, corners in parts])
    return refuses(*(picture.stem + ".txt" for picture in folder.splits[split]))


@kind(*YOLO, stage=FILES)
def numbers_with_commas(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    form = dice.pick((lambda line: line.replace(" ", ","), lambda line: line.replace(" ", ", "), _decimal_commas))
    return refuses(write_lines(folder, picture, [form(line) for line in lines_of(folder, picture)]))


def _decimal_commas(line: str) -> str:
    return line.replace(".", ",")


@kind(*YOLO, stage=BYTES)
def labels_with_other_spaces(folder: Folder, dice: Dice) -> Outcome:
    path = folder.notes(folder.take(dice))
    text = folder.spoil(path).decode()
    text = text.replace(" ", dice.pick((" ", "\t", "  ", " \t", "\xa0"))).replace(
        "\n", dice.pick(("\r\n", "\r", " \n", "\n\n"))
    )
    write_file(path, dice.pick((text, text.rstrip(), "\n" + text, " " + text)))
    return reads()


@kind(*YOLO, stage=BYTES)
def labels_in_another_encoding(folder: Folder, dice: Dice) -> Outcome:
    path = folder.notes(folder.take(dice))
    encoding = dice.pick(("utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-be"))
    write_file(path, folder.spoil(path).decode().encode(encoding))
    return reads()


@kind(*YOLO, stage=BYTES)
def other_labels(folder: Folder, dice: Dice) -> Outcome:
    """Another format's, or none."""
    path = folder.notes(folder.take(dice))
    folder.spoil(path)
    content = dice.pick(
        ("<annotation/>", '{"shapes": []}', "class x y w h", "cat 0.5 0.5 0.1 0.1", "\0\0", "# none", "0 0.5 0.5 0.1 é")
        + ("a.png 1 2 3 4 0", "0", "0.5 0.5 0.2 0.2", "Car 0.0 0 -1.57 599 156 629 189 1 1 1 1 1 1 1")
    )
    write_file(path, content.encode("latin-1"))
    return refuses(path)
