"""A text file of labels for each image: YOLO's format, with or without a data.yaml."""

from src.data.yolo.reader import parse_yolo, read_yolo, yolo_classes

__all__ = ["parse_yolo", "read_yolo", "yolo_classes"]
