"""VOC's lists of sets."""

from tests.data.damage.folders import BYTES, FILES, Dice, Folder, Outcome, kind, reads, refuses
from tests.support.layouts import write_file

ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le")


def lines_of(folder: Folder, split: str) -> list[str]:
    """Return the lines of a list."""
    return folder.set_list(split).read_text().splitlines()


def write_lines(folder: Folder, split: str, lines: list[str]) -> None:
    """Write a list, once."""
    folder.spoil(folder.set_list(split))
    write_file(folder.set_list(split), "".join(f"{line}\n" for line in lines))


@kind("voc", stage=BYTES)
def list_in_another_encoding(folder: Folder, dice: Dice) -> Outcome:
    path = folder.set_list(dice.pick(list(folder.splits)))
    write_file(path, folder.spoil(path).decode().encode(dice.pick(ENCODINGS)))
    return reads()


@kind("voc", stage=BYTES)
def list_with_other_spaces(folder: Folder, dice: Dice) -> Outcome:
    path = folder.set_list(dice.pick(list(folder.splits)))
    text = folder.spoil(path).decode()
    ends = dice.pick(("\r\n", "\r", "\n\n", " \n", "\t\n", "\n \n", "  \r\n"))
    text = text.replace("\n", ends)
    write_file(path, dice.pick((text, text.rstrip(), "\n" + text, " " + text)))
    return reads()


@kind("voc", stage=FILES)
def list_of_paths(folder: Folder, dice: Dice) -> Outcome:
    split = dice.pick(list(folder.splits))
    form = dice.pick(
        ("{}.png", "{}.jpg", "{}.xml", "JPEGImages/{}.png", "./JPEGImages/{}.png", "/home/me/VOC/JPEGImages/{}.jpg")
        + ("C:\\VOC\\JPEGImages\\{}.jpg", "Annotations/{}", "{}.PNG")
    )
    write_lines(folder, split, [form.format(line) for line in lines_of(folder, split)])
    return reads()


@kind("voc", stage=FILES)
def list_with_flags(folder: Folder, dice: Dice) -> Outcome:
    """As VOC's lists of one class: images flagged −1 do not hold it."""
    split = dice.pick(list(folder.splits))
    picture = folder.take(dice, split)
    flags = [-1 if line == picture.stem else dice.number(0, 1) for line in lines_of(folder, split)]
    write_lines(folder, split, [f"{line} {flag:2}" for line, flag in zip(lines_of(folder, split), flags, strict=True)])
    folder.drop(picture)
    return reads(f"1 of {len(flags)} images are flagged -1", f"{split}.txt")


@kind("voc", stage=FILES)
def list_in_another_order(folder: Folder, dice: Dice) -> Outcome:
    split = dice.pick(list(folder.splits))
    lines = lines_of(folder, split)[::-1]
    write_lines(folder, split, lines)
    folder.splits[split].reverse()
    return reads()


@kind("voc", stage=FILES)
def list_with_another_name(folder: Folder, dice: Dice) -> Outcome:
    split = dice.pick(list(folder.splits))
    lines = lines_of(folder, split)
    position = dice.number(0, len(lines) - 1)
    name = dice.pick(
        ("zebra", lines[position].upper(), lines[position] + "1", "a b", "x\0y", "..", "*", "-1", "\u202e")
    )
    lines[position] = name
    write_lines(folder, split, lines)
    return refuses(folder.set_list(split))


@kind("voc", stage=FILES)
def list_with_a_name_twice(folder: Folder, dice: Dice) -> Outcome:
    split = dice.pick(list(folder.splits))
    lines = lines_of(folder, split)
    lines.insert(dice.number(0, len(lines)), dice.pick(("{}", "{}.png", " {}")).format(dice.pick(lines)))
    write_lines(folder, split, lines)
    return refuses(folder.set_list(split))


@kind("voc", stage=BYTES)
def empty_list(folder: Folder, dice: Dice) -> Outcome:
    path = folder.set_list(dice.pick(list(folder.splits)))
    folder.spoil(path)
    write_file(path, dice.pick((b"", b"\n\n", b" ", b"\xef\xbb\xbf", b"\xff\xfe", b"\xff\xfe\n\0")))
    return refuses(path)


@kind("voc", stage=BYTES)
def truncated_list(folder: Folder, dice: Dice) -> Outcome:
    """The list means what is left, unless a name is cut."""
    split = dice.pick(list(folder.splits))
    path = folder.set_list(split)
    data = folder.spoil(path)
    data = data[: dice.number(0, len(data) - 1)]
    write_file(path, data)
    lines = data.decode().split()
    if not lines or not set(lines) <= {picture.stem for picture in folder.splits[split]}:
        return refuses(path)
    for picture in [picture for picture in folder.splits[split] if picture.stem not in lines]:
        folder.drop(picture)
    return reads()


@kind("voc", stage=BYTES)
def missing_list(folder: Folder, dice: Dice) -> Outcome:
    path = folder.set_list(dice.pick(list(folder.splits)))
    folder.spoil(path)
    path.unlink()
    return refuses(path)


@kind("voc", stage=FILES)
def image_of_both_splits(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice, "train")
    folder.spoil(folder.set_list("train"))
    write_lines(folder, "test", [*lines_of(folder, "test"), picture.stem])
    folder.splits["test"].append(picture)
    return reads("1 test image in the training split too", picture.name)
