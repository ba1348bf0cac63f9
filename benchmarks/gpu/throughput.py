"""Images a second in training: this project's RetinaNet with AP-loss beside torchvision's RetinaNet with focal loss.

Both start from random weights, get the same images and boxes, and step with SGD. They differ not only in the loss: this
project has 6 anchors per cell and torchvision 9; this project has group norms in pyramid and heads, torchvision none;
and this project's images are channels-last. Both normalise the images, torchvision within its model.
"""

import contextlib
import gc
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet as TorchvisionRetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from benchmarks.gpu.part import PartOptions, PartResult, run_part
from src.costs.table import Table
from src.detectors.anchors import make_anchors
from src.detectors.retinanet import RetinaNet, anchor_grids
from src.detectors.targets import assign_targets, box_loss
from src.losses import ap_loss
from src.utils.timing import Stopwatch

CLASSES = 20
BOXES = 7  # of each image
OURS, TORCHVISION = "this project", "torchvision"
Step = Callable[[], None]


@dataclass(frozen=True)
class Mode:
    """How numbers are computed."""

    name: str
    tf32: bool
    autocast: bool


@dataclass(frozen=True)
class Size:
    """What is trained, and how often it is timed."""

    backbone: str
    side: int  # of the square images, in pixels
    batch: int
    steps: int  # of a repetition
    repetitions: int


@dataclass(frozen=True)
class Batch:
    """Random images with boxes, on the device."""

    images: Tensor  # float32 [B, 3, H, W], in 0 … 1
    boxes: list[Tensor]  # for each image float32 [BOXES, 4]
    labels: list[Tensor]  # for each image int64 [BOXES], 0 … CLASSES − 1


CPU_MODES = [Mode("fp32", tf32=False, autocast=False)]  # few CPUs compute in bfloat16
CUDA_MODES = [
    Mode("fp32", tf32=False, autocast=False),
    Mode("fp32 with TF32", tf32=True, autocast=False),
    Mode("bf16 autocast, rest TF32", tf32=True, autocast=True),
]
FULL = Size("resnet50", side=512, batch=8, steps=8, repetitions=5)
QUICK = Size("resnet18", side=32, batch=2, steps=1, repetitions=1)


def measure(options: PartOptions) -> PartResult:
    """Time both detectors in each mode, in turn."""
    device, size = torch.device(options.device), QUICK if options.quick else FULL
    modes = CUDA_MODES if options.device == "cuda" else CPU_MODES
    rows: list[list[str]] = []
    values: dict[str, Any] = {}
    for mode in modes:
        set_tf32(mode.tf32)
        batch_size, memory = largest_batch(size, mode, device)
        batch = random_batch(batch_size, size.side, device)
        rates = images_per_second({name: build(size, mode, batch) for name, build in BUILDERS.items()}, size, batch)
        medians = {name: statistics.median(times) for name, times in rates.items()}
        ratio = medians[OURS] / medians[TORCHVISION]
        speeds = [f"{medians[name]:.1f} ({min(rates[name]):.1f} to {max(rates[name]):.1f})" for name in BUILDERS]
        rows.append([mode.name, str(batch_size), *speeds, f"{ratio:.2f}×", *(_mebibytes(memory[n]) for n in BUILDERS)])
        values[mode.name] = {
            "batch": batch_size,
            "images_per_second": rates,
            "ratio_of_medians": ratio,
            "peak_memory_bytes": memory,
        }
        print(*rows[-1], flush=True)
    header = ["precision", "batch", *(f"{name}, images/s" for name in BUILDERS), "ratio"]
    header += [f"{name}, peak MiB" for name in BUILDERS]
    title = (
        f"Training of RetinaNet-{size.backbone} at {size.side} × {size.side}: median images a second (slowest to "
        f"fastest of {size.repetitions} repetitions of {size.steps} steps, in turn), and peak memory"
    )
    return PartResult([Table(title, header, rows)], values)


def set_tf32(enabled: bool) -> None:
    """Choose whether matrix products and convolutions of float32 may compute in TF32."""
    precision = "tf32" if enabled else "ieee"
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]


def random_batch(batch: int, side: int, device: torch.device) -> Batch:
    """Draw random images and boxes of a tenth to a half of an image's side."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 3, side, side, generator=generator)
    extent = side * (0.1 + 0.4 * torch.rand(batch, BOXES, 2, generator=generator))
    corner = (side - extent) * torch.rand(batch, BOXES, 2, generator=generator)
    boxes = torch.cat([corner, corner + extent], dim=2)
    labels = torch.randint(CLASSES, (batch, BOXES), generator=generator)
    return Batch(images.to(device), list(boxes.to(device)), list(labels.to(device)))


def build_ours(size: Size, mode: Mode, batch: Batch) -> Step:
    """Return a training step of this project's detector, as src.training does it."""
    device = batch.images.device
    torch.manual_seed(0)
    model: nn.Module = RetinaNet(CLASSES, size.backbone).to(device).to(memory_format=torch.channels_last).train()
    optimizer = _sgd(model)

    def step() -> None:
        images = batch.images.sub(0.45).div(0.225).contiguous(memory_format=torch.channels_last)
        anchors = torch.cat(make_anchors(anchor_grids(size.side, size.side), device))
        targets = assign_targets(anchors, batch.boxes, batch.labels, classes=CLASSES)
        with _autocast(mode, device):
            logits, offsets = model(images)
            localisation = box_loss(offsets, anchors, targets)
        classification = ap_loss(logits, targets.classes)
        optimizer.zero_grad()
        (classification + localisation).backward()
        optimizer.step()

    return step


def torchvision_retinanet(
    backbone: str,
    side: int,
    *,
    classes: int = CLASSES,
    sizes: tuple[tuple[int, ...], ...] | None = None,
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0),
) -> TorchvisionRetinaNet:
    """Return torchvision's detector; with resnet50 it is its `retinanet_resnet50_fpn` without any weights.

    Args:
        sizes: of the square anchors of each level, in pixels; None: torchvision's three a level.
        aspect_ratios: of the anchors of each of these sizes, if they are given.
    """
    network = resnet_fpn_backbone(
        backbone_name=backbone,
        weights=None,
        norm_layer=torch.nn.BatchNorm2d,
        trainable_layers=5,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )
    anchors = None if sizes is None else AnchorGenerator(sizes, (aspect_ratios,) * len(sizes))
    return TorchvisionRetinaNet(network, classes, min_size=side, max_size=side, anchor_generator=anchors)


def build_torchvision(size: Size, mode: Mode, batch: Batch) -> Step:
    """Return a training step of torchvision's detector, as its reference scripts make it."""
    device = batch.images.device
    torch.manual_seed(0)
    model = torchvision_retinanet(size.backbone, size.side).to(device).train()
    optimizer = _sgd(model)
    targets = [{"boxes": boxes, "labels": labels} for boxes, labels in zip(batch.boxes, batch.labels, strict=True)]

    def step() -> None:
        with _autocast(mode, device):
            losses = model(list(batch.images), targets)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()

    return step


BUILDERS: dict[str, Callable[[Size, Mode, Batch], Step]] = {OURS: build_ours, TORCHVISION: build_torchvision}


def images_per_second(steps: dict[str, Step], size: Size, batch: Batch) -> dict[str, list[float]]:
    """Return for each detector the images a second of each repetition; the detectors take turns, after a warm-up."""
    device = batch.images.device
    for step in steps.values():
        for _ in range(3 if device.type == "cuda" else 1):
            step()
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(size.repetitions):
        for name, step in steps.items():
            with Stopwatch(device) as watch:
                for _ in range(size.steps):
                    step()
            rates[name].append(size.steps * len(batch.images) / watch.seconds)
    return rates


def largest_batch(size: Size, mode: Mode, device: torch.device) -> tuple[int, dict[str, int | None]]:
    """Return the size's batch, halved until both detectors fit into the GPU's memory, and each one's peak of bytes."""
    if device.type == "cpu":
        return size.batch, dict.fromkeys(BUILDERS)
    batch_size = size.batch
    while True:
        try:
            batch = random_batch(batch_size, size.side, device)
            return batch_size, {name: _peak_memory(build, size, mode, batch) for name, build in BUILDERS.items()}
        except torch.OutOfMemoryError:
            if batch_size == 1:
                raise
            batch_size //= 2


def _peak_memory(build: Callable[[Size, Mode, Batch], Step], size: Size, mode: Mode, batch: Batch) -> int:
    """Return the most bytes allocated in two steps of a detector that is alone on the GPU."""
    gc.collect()  # detectors of before
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    step = build(size, mode, batch)
    for _ in range(2):  # the momentum is there from the first on
        step()
    return torch.cuda.max_memory_allocated()


def _sgd(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4)


def _autocast(mode: Mode, device: torch.device) -> contextlib.AbstractContextManager:
    return torch.autocast(device.type, torch.bfloat16) if mode.autocast else contextlib.nullcontext()


def _mebibytes(size: int | None) -> str:
    return "–" if size is None else f"{size / 2**20:,.0f}"


if __name__ == "__main__":
    run_part(measure)
