"""Small folders in COCO's layout, for tests."""

import json

from PIL import Image


def two_images():
    """Return a file of two images; its category ids have a gap and are not in order."""
    return {
        "images": [
            {"id": 7, "file_name": "seven.jpg", "width": 100, "height": 80},
            {"id": 3, "file_name": "three.jpg", "width": 50, "height": 60},
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 3,
                "category_id": 90,
                "bbox": [1.5, 2, 10, 20.25],
                "area": 99.5,
                "iscrowd": 0,
                "segmentation": [[1, 2, 3, 4, 5, 6]],
            },
            {
                "id": 2,
                "image_id": 7,
                "category_id": 4,
                "bbox": [90, 70, 30, 30],
                "area": 12,
                "iscrowd": 1,
                "segmentation": {"counts": [1, 2], "size": [80, 100]},
            },
            {"id": 3, "image_id": 3, "category_id": 4, "bbox": [0, 0, 50, 60]},
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 4, "name": "boat"}],
    }


def write(root, set_name, data, image_folder=None):
    """Write the JSON file of a set and its images, by default into the folder of that name."""
    path = root / "annotations" / f"instances_{set_name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    for image in data.get("images", []):
        image_path = root / (set_name if image_folder is None else image_folder) / image["file_name"]
        image_path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(image_path)
    return path
