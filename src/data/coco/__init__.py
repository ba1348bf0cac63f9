"""A JSON file for each set of images: COCO's format, in COCO's layout and in others that people have."""

from src.data.coco.reader import coco_classes, parse_coco, read_coco, read_images

__all__ = ["coco_classes", "parse_coco", "read_coco", "read_images"]
