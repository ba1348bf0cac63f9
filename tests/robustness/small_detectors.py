"""Small detectors that are really trained, in seconds: of squares of two colours on noise."""

import functools

import torch
from torch import nn
from torchvision.transforms.v2.functional import normalize

from src.data.loading import TrainingBatch
from src.detectors.anchors import AnchorGrid
from src.detectors.detector import Detector
from src.detectors.heads import PRIOR_BIAS, convolution, per_anchor
from src.detectors.postprocess import detect_by_class
from src.detectors.targets import box_loss
from src.losses import focal_loss, ohem_loss
from src.robustness.attacked_detector import AttackedDetector

SIDE, CLASSES = 64, 2
COLOURS = torch.tensor([[200.0, 60.0, 60.0], [60.0, 60.0, 200.0]])


class SmallNetwork(nn.Module):
    """Three convolutions and two heads, with one anchor at each cell of 8 × 8 pixels."""

    def __init__(self, outputs):
        super().__init__()
        layers = []
        for before, channels in ((3, 8), (8, 16), (16, 32)):
            layers += [nn.Conv2d(before, channels, 5, stride=2, padding=2), nn.BatchNorm2d(channels), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.classification = convolution(32, outputs, std=0.01, bias=PRIOR_BIAS)
        self.regression = convolution(32, 4, std=0.01, bias=0.0)

    def forward(self, images):
        maps = self.body(images)
        return per_anchor(self.classification(maps), 1), per_anchor(self.regression(maps), 1)


def small_detector():
    return Detector(
        SmallNetwork,
        lambda height, width: [AnchorGrid(height // 8, width // 8, 8, torch.tensor([[22.0, 22.0]]))],
        detect_by_class,
    )


def make_images(count, seed):
    """Images in grey levels, float [count, 3, 64, 64], each with a square to the left and one to the right."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(60, 190, (count, 3, SIDE, SIDE), generator=generator).float()
    boxes = torch.empty(count, 2, 4)
    labels = torch.randint(CLASSES, (count, 2), generator=generator)
    for number in range(count):
        for half in range(2):
            side = int(torch.randint(16, 29, (), generator=generator))
            x = int(torch.randint(33 - side, (), generator=generator)) + 32 * half
            y = int(torch.randint(65 - side, (), generator=generator))
            noise = 20 * torch.randn(3, side, side, generator=generator)
            images[number, :, y : y + side, x : x + side] = COLOURS[labels[number, half]][:, None, None] + noise
            boxes[number, half] = torch.tensor([x, y, x + side, y + side])
    return images.clamp(0, 255).round(), boxes, labels


def training_batch(images, boxes, labels, normalisation):
    """The same images as training gives them to a network."""
    inputs = normalize(images / 255, list(normalisation.mean), list(normalisation.std))
    return TrainingBatch(inputs, list(boxes), list(labels))


@functools.cache
def trained_detector(seed, *, loss="focal", steps=100):
    """A detector after some steps of training."""
    torch.manual_seed(seed)
    detector = small_detector()
    network = detector.build_network(CLASSES + (loss == "ohem"))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    anchors = torch.cat(detector.anchors(SIDE, SIDE))
    data = make_images(64, seed)
    for step in range(steps):
        chosen = torch.randint(64, (8,), generator=torch.Generator().manual_seed(step))
        batch = training_batch(*(part[chosen] for part in data), detector.normalisation)
        logits, offsets = network(batch.images)
        targets = detector.assign_targets(anchors, batch.boxes, batch.labels, classes=CLASSES)
        function = ohem_loss if loss == "ohem" else focal_loss
        (function(logits, targets.classes) + box_loss(offsets, anchors, targets)).backward()
        optimizer.step()
        optimizer.zero_grad()
    return AttackedDetector(detector, network, background_output=loss == "ohem")
