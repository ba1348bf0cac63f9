"""Small folders in YOLO's layouts, for tests."""

from PIL import Image

YAML = "names: [ant, bee]\n"
LABELS = "1 0.5 0.5 0.2 0.25\n0 0.1 0.2 0.1 0.1\n"
BOXES = [[40, 30, 60, 50], [5, 12, 15, 20]]


def add(root, image, labels=LABELS, label_path=None):
    """Add an image of 100 × 80 pixels and its labels: beside it, or in `labels` where its path has `images`."""
    path = root / image
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (100, 80)).save(path)
    if labels is not None:
        label_path = root / (label_path or image.replace("images/", "labels/")).rpartition(".")[0]
        label_path = label_path.with_name(label_path.name + ".txt")
        label_path.parent.mkdir(parents=True, exist_ok=True)
        label_path.write_bytes(labels if isinstance(labels, bytes) else labels.encode())


def two_sets(root, yaml=YAML):
    """Write images/train with b and a, and images/val with c."""
    root.mkdir(exist_ok=True)
    for image in ("train/b.jpg", "train/a.jpg", "val/c.jpg"):
        add(root, f"images/{image}")
    (root / "data.yaml").write_bytes(yaml if isinstance(yaml, bytes) else yaml.encode())
    return root
