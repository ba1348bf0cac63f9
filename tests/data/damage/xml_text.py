"""XML files as texts: their encoding, markup and root, and what stands in their place."""

import codecs
import encodings.aliases
import re
import xml.etree.ElementTree as ET

from tests.data.damage.folders import BYTES, FILES, XML, Dice, Folder, Outcome, kind, reads, refuses
from tests.data.damage.folders import reads_or_refuses as either
from tests.data.damage.xml import rewrite
from tests.support.layouts import object_xml, write_file

CODECS = sorted({*encodings.aliases.aliases.values(), "undefined", "klingon", "utf-8-sig", "idna", "a\0b", "../x"})
MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
UNICODE = ("utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
OTHER_ROOTS = ("annotations", "html", "dataset", "svg", "opencv_storage", "Objects", "annotation2", "x:annotations")
NO_XML = (
    "",
    " \n",
    '{"images": [], "annotations": []}',
    "<!DOCTYPE html><html><body><p>404</body></html>",
    "0 0.5 0.5 0.2 0.2\n",
    "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "<annotation/><annotation/>",
    "<annotation>&nbsp;</annotation>",
    "<annotation>&#0;</annotation>",
    "<annotation>\x01</annotation>",
    "<annotation><object></annotation></object>",
    "<x:annotation/>",
    "<annotation xmlns:x='a' x:b='' x:b=''/>",
    "\0\0\0\0",
    "<<<<<<<",
    "<a>" * 5000,
    "<!DOCTYPE a [<!ENTITY e '0123456789'>"
    + "".join(f"<!ENTITY {new} '{f'&{old};' * 20}'>" for old, new in zip("eabcdf", "abcdfg", strict=True))
    + "]><annotation>&g;</annotation>",
)


@kind(*XML, stage=BYTES)
def xml_in_its_declared_encoding(folder: Folder, dice: Dice) -> Outcome:
    """Any that Python has, and some that nobody has."""
    path = folder.notes(folder.take(dice))
    name = dice.pick(CODECS)
    head = f'<?xml version="1.0" encoding="{name}"?>'
    text = f"{head}\n{folder.spoil(path).decode()}"
    try:
        data = text.encode(name, "xmlcharrefreplace")
        whole = ET.canonicalize(data.decode(name).removeprefix(head)) == ET.canonicalize(text.removeprefix(head))
    except Exception:
        data, whole = text.encode(), False
    write_file(path, data)
    declared = data.startswith((head.encode(), *MARKS)) or name in ("utf_16_le", "utf_16_be")
    return reads() if whole and declared else either(path)


@kind(*XML, stage=BYTES)
def xml_in_unicode(folder: Folder, dice: Dice) -> Outcome:
    """With a byte order mark, or with zeros that show as much."""
    path = folder.notes(folder.take(dice))
    head = dice.pick(("", '<?xml version="1.0"?>', '<?xml version="1.0" encoding="utf-8"?>\r\n'))
    write_file(path, (head + folder.spoil(path).decode()).encode(dice.pick(UNICODE)))
    return reads()


@kind(*XML, stage=BYTES)
def xml_in_another_encoding_than_declared(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    text = rewrite(folder, picture, "<filename>", "<filename>Löwe")
    head = dice.pick(("", '<?xml version="1.0"?>', '<?xml version="1.0" encoding="UTF-8"?>\n'))
    text = head + folder.notes(picture).read_text().replace("猫", "e")
    write_file(folder.notes(picture), text.encode("latin-1", "replace"))
    return refuses(folder.notes(picture).name)


@kind(*XML, stage=BYTES)
def truncated_xml(folder: Folder, dice: Dice) -> Outcome:
    path = folder.notes(folder.take(dice))
    data = folder.spoil(path)
    write_file(path, data[: dice.number(0, len(data.rstrip()) - 1)])
    return refuses(path)


@kind(*XML, stage=BYTES)
def no_xml(folder: Folder, dice: Dice) -> Outcome:
    path = folder.notes(folder.take(dice))
    folder.spoil(path)
    write_file(path, dice.pick(NO_XML))
    return refuses(path)


@kind(*XML, stage=FILES)
def other_root(folder: Folder, dice: Dice) -> Outcome:
    path = folder.notes(folder.take(dice))
    root = dice.pick(OTHER_ROOTS)
    head = f'{root} xmlns:x="http://host/x"' if ":" in root else root
    text = path.read_text().replace("<annotation>", f"<{head}>").replace("</annotation>", f"</{root}>")
    write_file(path, text)
    return refuses(path)


@kind(*XML)
def objects_in_another_place(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    xml = object_xml(dice.pick(picture.things))
    new = dice.pick((f"<objects>{xml}</objects>", f"<outputs><o>{xml}</o></outputs>", f"<object>{xml}</object>"))
    return refuses(rewrite(folder, picture, xml, new))


@kind(*XML)
def other_boxes(folder: Folder, dice: Dice) -> Outcome:
    """Rotated boxes, polygons and points."""
    picture = folder.take(dice)
    thing = dice.pick(picture.things)
    tag = dice.pick(("robndbox", "polygon", "point"))
    return refuses(rewrite(folder, picture, object_xml(thing), object_xml(thing).replace("bndbox>", f"{tag}>")))


@kind(*XML, stage=FILES)
def markup_without_meaning(folder: Folder, dice: Dice) -> Outcome:
    """Namespaces, upper case, comments, CDATA, entities, attributes, Windows' lines."""
    path = folder.notes(folder.take(dice))
    text = path.read_text()
    for change in {dice.pick(list(MARKUP)): None, dice.pick(list(MARKUP)): None}:
        text = MARKUP[change](text)
    write_file(path, text)
    return reads()


def _without_declaration(text: str) -> str:
    return re.sub(r"^\s*<!DOCTYPE.*?\]>", "", text)


MARKUP = {
    "namespace": lambda text: re.sub(r"<annotation( \w+='[^']*')*>", "<annotation xmlns='http://host/voc'>", text),
    "upper case": lambda text: re.sub(r"(?<=<)(/?)(object|xmin|width|name)\b", lambda m: m[0].title(), text),
    "comments": lambda text: text.replace("</object>", "<!-- <object><name>x</name></object> --></object>"),
    "CDATA": lambda text: re.sub(r"(?i)<xmin>(\d+)<", r"<xmin><![CDATA[\1]]><", text) if "<xmin>" in text else text,
    "entities": lambda text: f"<!DOCTYPE annotation [<!ENTITY one '1'>]>{_without_declaration(text)}".replace(
        "<xmax>1", "<xmax>&one;"
    ),
    "character references": lambda text: text.replace("<ymax>1", "<ymax>&#x31;"),
    "attributes": lambda text: re.sub(r"<object>", "<object id='7' verified='yes'>", text),
    "Windows' lines": lambda text: text.replace("\n", "\r\n"),
    "order of corners": lambda text: re.sub(r"(<xmin>.*?</xmin>)(<ymin>.*?</ymin>)", r"\2\1", text),
    "polygons too": lambda text: text.replace("</object>", "<polygon><x1>3</x1></polygon></object>"),
    "instructions": lambda text: text.replace("<object", "<?target data?><object"),
    "other elements": lambda text: text.replace("</object>", "<pose>Left</pose><truncated>1</truncated></object>"),
}


@kind(*XML, stage=FILES)
def missing_xml(folder: Folder, dice: Dice) -> Outcome:
    picture = folder.take(dice)
    folder.notes(picture).unlink()
    if folder.layout == "voc":
        return refuses(picture.stem)
    folder.drop(picture)
    return reads("1 images have no XML file", picture.name)


@kind(*XML, stage=FILES)
def xml_without_image(folder: Folder, dice: Dice) -> Outcome:
    """In VOC's layout a list decides, and need not have it."""
    picture = folder.take(dice)
    path = folder.notes(picture).with_stem("zebra")
    write_file(path, folder.notes(picture).read_bytes())
    return reads() if folder.layout == "voc" else refuses(path.stem)
