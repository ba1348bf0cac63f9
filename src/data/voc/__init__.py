"""Images with an XML file each: PASCAL VOC's layout, and flat folders such as LabelImg's."""

from src.data.voc.reader import parse_flat, parse_voc, read_images, read_voc, voc_classes

__all__ = ["parse_flat", "parse_voc", "read_images", "read_voc", "voc_classes"]
