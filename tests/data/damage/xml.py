"""Objects of VOC's XML files: their boxes, flags and names, and the image's size."""

from tests.data.damage.folders import XML, Dice, Folder, Outcome, kind, reads, refuses
from tests.data.damage.images import without_size
from tests.support.layouts import Picture, Thing, object_xml, picture_xml, write_file

NO_NUMBERS = ("", "two", "nan", "inf", "-inf", "1,5", "1_0", "0x10", "1e400", "9" * 400, "１２", "1 2", "NaN", "--3")
DIFFICULT = {"1": True, "1.0": True, "true": True, "Yes": True, " 1\n": True}
DIFFICULT |= {"0": False, "0.0": False, "False": False, "no": False, "Unspecified": False, "": False}


def rewrite(folder: Folder, picture: Picture, old: str = "", new: str = "") -> str:
    """Write a picture's XML file as its objects are now, with text replaced; return the file's name."""
    text = picture_xml(picture)
    assert old in text
    write_file(folder.notes(picture), text.replace(old, new, 1) if old else text)
    return folder.notes(picture).name


def replace_object(folder: Folder, picture: Picture, thing: Thing, xml: str) -> str:
    """Write another element for an object of a picture's XML file; return the file's name."""
    return rewrite(folder, picture, object_xml(thing), xml)


def corners(thing: Thing, *values: object) -> str:
    """Return an object with other text for its corners."""
    xml = object_xml(thing)
    start, end = xml.index("<bndbox>"), xml.index("</bndbox>")
    tags = ("xmin", "ymin", "xmax", "ymax")
    boxes = "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(tags, values, strict=True))
    return f"{xml[:start]}<bndbox>{boxes}{xml[end:]}"


def one_based(thing: Thing) -> list[float]:
    """Return the corners as VOC has them."""
    x1, y1, x2, y2 = thing.box
    return [x1 + 1, y1 + 1, x2, y2]


@kind(*XML)
def exchanged_corners(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    xmin, ymin, xmax, ymax = one_based(thing)
    pairs = [(xmax, ymax, xmin, ymin), (xmax, ymin, xmin, ymax), (xmin, ymax, xmax, ymin)]
    name = replace_object(folder, picture, thing, corners(thing, *dice.pick(pairs)))
    return reads("exchanged the corners of 1 boxes", name)


@kind(*XML)
def box_outside(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    (width, height), far = picture.size, dice.number(1, 10**6)
    boxes = [(width + far, 2, width + far + 5, 9), (-far - 5, 2, -far, 9), (2, height + far, 9, height + far + 5)]
    name = replace_object(folder, picture, thing, corners(thing, *dice.pick(boxes)))
    folder.drop_thing(picture, thing)
    return reads("0 boxes without area and 1 wholly outside", name)


@kind(*XML)
def box_partly_outside(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    (width, height), (x1, y1, x2, y2) = picture.size, thing.box
    far = dice.number(2, 10**6)
    values, thing_box = dice.pick(
        [
            ((x1 + 1, y1 + 1, width + far, y2), (x1, y1, width, y2)),
            ((x1 + 1, -far, x2, y2), (x1, 0, x2, y2)),
            ((-far, -far, width + far, height + far), (0, 0, width, height)),
        ]
    )
    name = replace_object(folder, picture, thing, corners(thing, *values))
    thing.box = thing_box
    return reads("clipped 1 boxes", name)


@kind(*XML)
def box_a_pixel_outside(folder: Folder, dice: Dice) -> Outcome:
    """Corners that count from 0, or to the width and one: clipped without a word."""
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    x1, y1, x2, y2 = thing.box
    values, thing_box = dice.pick(
        [
            ((0, y1 + 1, x2, y2), (0, y1, x2, y2)),
            ((x1 + 1, y1 + 1, picture.size[0] + 1, y2), (x1, y1, picture.size[0], y2)),
            ((x1 + 1, 0, x2, picture.size[1] + 1), (x1, 0, x2, picture.size[1])),
        ]
    )
    replace_object(folder, picture, thing, corners(thing, *values))
    thing.box = thing_box
    return reads()


@kind(*XML)
def box_without_area(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    xmin, ymin, xmax, ymax = one_based(thing)
    values = dice.pick([(xmin, ymin, xmin, ymax), (xmin, ymin, xmax, ymin), (0, 0, 0, 0)])
    name = replace_object(folder, picture, thing, corners(thing, *values))
    folder.drop_thing(picture, thing)
    return reads("1 boxes without area and 0 wholly outside", name)


@kind(*XML)
def box_thinner_than_a_float(folder: Folder, dice: Dice) -> Outcome:
    """Beyond the image but for less than 32 bits hold."""
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    width = picture.size[0]
    name = replace_object(folder, picture, thing, corners(thing, f"{width + 1 - 1e-9:.12f}", 2, width + 5, 9))
    folder.drop_thing(picture, thing)
    return reads("0 boxes without area and 1 wholly outside", name)


@kind(*XML)
def fractions(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    (width, height), (x1, y1, x2, y2) = picture.size, thing.box
    values = (x1 / width, y1 / height, x2 / width, y2 / height)
    return refuses(replace_object(folder, picture, thing, corners(thing, *values)))


@kind(*XML)
def numbers_written_otherwise(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    forms = ("{:d}.0", "+{:d}", " {:d}\n", "{:d}.", "00{:d}", "{:d}e0", "{:d}.000000000000000000", "<!-- x -->{:d}")
    values = [dice.pick(forms).format(int(value)) for value in one_based(thing)]
    replace_object(folder, picture, thing, corners(thing, *values))
    return reads()


@kind(*XML)
def halves_of_pixels(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    x1, y1, x2, y2 = thing.box
    thing.box = (x1 + 0.5, y1 + 0.25, x2 - 0.125, y2 - 0.5)
    rewrite(folder, picture)
    return reads()


@kind(*XML)
def no_number(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    values: list[object] = list(one_based(thing))
    values[dice.number(0, 3)] = dice.pick(NO_NUMBERS)
    return refuses(replace_object(folder, picture, thing, corners(thing, *values)))


@kind(*XML)
def no_number_as_size(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    width = f"<width>{picture.size[0]}</width>"
    text = dice.pick([*NO_NUMBERS[1:], f"{picture.size[0]}.5", f"{picture.size[0]}px"])
    return refuses(rewrite(folder, picture, width, f"<width>{text}</width>"), picture.name)


@kind(*XML)
def missing_size(folder: Folder, dice: Dice) -> Outcome:
    return without_size(folder, folder.take(dice))


@kind(*XML)
def empty_size(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    side = f"<width>{picture.size[0]}</width>"
    name = rewrite(folder, picture, side, dice.pick(("<width>0</width>", "<width/>", "", "<width>-1</width>")))
    return reads("1 XML files give no image size", name)


@kind(*XML)
def missing_element(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    xml = object_xml(thing)
    tag = dice.pick(("name", "bndbox", "xmin", "ymax"))
    start, end = xml.index(f"<{tag}>"), xml.index(f"</{tag}>") + len(f"</{tag}>")
    return refuses(replace_object(folder, picture, thing, xml[:start] + dice.pick(("", f"<{tag}/>")) + xml[end:]))


@kind(*XML)
def repeated_element(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    xml = object_xml(thing)
    tag = dice.pick(("name", "bndbox", "xmin", "ymax", "difficult"))
    start, end = xml.index(f"<{tag}>"), xml.index(f"</{tag}>") + len(f"</{tag}>")
    return refuses(replace_object(folder, picture, thing, xml[:end] + xml[start:end] + xml[end:]))


@kind(*XML)
def elements_within_text(folder: Folder, dice: Dice) -> Outcome:
    """Text after an element inside is not part of what a parser returns as the text."""
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    old, new = dice.pick([("</name>", "<b/>fish</name>"), ("<name>", "<name><b>big</b> "), ("</xmax>", "<i/>0</xmax>")])
    return refuses(replace_object(folder, picture, thing, object_xml(thing).replace(old, new)))


@kind(*XML)
def repeated_object(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    name = replace_object(folder, picture, thing, object_xml(thing) * 2)
    picture.things.insert(picture.things.index(thing), thing)
    return reads("1 objects are in their XML file twice", name)


@kind(*XML)
def difficult_in_words(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    word = dice.pick(list(DIFFICULT))
    xml = object_xml(thing).replace("<difficult>0<", f"<difficult>{word}<")
    replace_object(folder, picture, thing, xml)
    thing.difficult = DIFFICULT[word]
    return reads()


@kind(*XML)
def difficult_beyond_words(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    word = dice.pick(("maybe", "2", "-1", "nan", "01", "yes no"))
    xml = object_xml(thing).replace("<difficult>0<", f"<difficult>{word}<")
    return refuses(replace_object(folder, picture, thing, xml))


@kind(*XML)
def parts_of_objects(folder: Folder, dice: Dice) -> Outcome:
    """VOC's persons have parts with boxes of their own, which are no objects."""
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part>"
    replace_object(folder, picture, thing, object_xml(thing).replace("</object>", f"{part}</object>"))
    return reads()


@kind(*XML)
def no_objects(folder: Folder, dice: Dice) -> Outcome:
    """Nothing to train on, or nothing to find."""
    picture = folder.take(dice)
    picture.things = []
    rewrite(folder, picture)
    return reads()


@kind(*XML)
def everything_difficult(folder: Folder, dice: Dice) -> Outcome:
    """Nothing to learn in the training split, or to find in the test split."""
    split = dice.pick(list(folder.splits))
    for _ in range(len(folder.splits[split])):
        picture = folder.take(dice, split)
        for thing in picture.things:
            thing.difficult = True
        rewrite(folder, picture)
    return refuses(*(picture.name for picture in folder.splits[split]), folder.root)


@kind(*XML)
def class_that_is_not_given(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    folder.given_classes = True
    other = dice.pick((thing.name.upper() + "s", thing.name + " x", thing.name[:-1] + "\u0301"))
    return refuses(replace_object(folder, picture, thing, object_xml(Thing(other, thing.box))))
