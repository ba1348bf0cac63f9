"""Measure the accuracy of torchvision's RetinaNet under the conditions of a run of this project.

    python -m benchmarks.torchvision_accuracy recipe=voc_small dataset.root=VOCdevkit

It is `torchvision.models.detection.RetinaNet` with its own focal loss, matching and post-processing. Backbone, pyramid,
width of the heads, images, batches, optimizer and learning rates are those of `python -m src.run` with these options.
It is tested once, after the last step, by the same evaluator. It trains on the CPU, and saves nothing.
"""

import argparse
import time
from collections import OrderedDict
from collections.abc import Sequence

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNet as TorchvisionRetinaNet
from torchvision.models.detection.retinanet import RetinaNetHead

from benchmarks.configurations import compose_config
from src.costs.table import Table
from src.detectors.backbones import normalisation_of
from src.detectors.detections import Detections
from src.detectors.retinanet import ASPECT_RATIOS, SCALES, STRIDES, RetinaNet, group_norm
from src.evaluation.coco_metrics import evaluate_detections
from src.training.data import Data, build_data
from src.training.optimizer import build_optimizer
from src.utils.distributed import World
from src.utils.progress import progress_bar

FIXED = {  # options of a run that have one value here
    "loss.name": "focal",
    "model.name": "retinanet",
    "precision": "fp32",
    "compile": False,
    "schedule.clip_gradient": None,
    "proposals": "all",
    "snapshot": None,
    "attack.name": "none",
}


def main(words: Sequence[str] | None = None) -> None:
    """Train and test as a command line asks for, and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.torchvision_accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _, overrides = parser.parse_known_args(words)
    config = compose_config(["loss=focal", *overrides])
    for key, only in FIXED.items():
        if (given := OmegaConf.select(config, key)) != only:
            parser.error(f"{key}={given}: it trains with {'null' if only is None else only} alone")
    data = build_data(config, normalisation_of(config.model.backbone), World())
    torch.manual_seed(config.seed)
    network = Network(config, len(data.classes))
    start = time.perf_counter()
    train(network, data, config)
    trained = time.perf_counter()
    metrics = test(network, data, config)
    row = [f"{metrics[name]:.1f}" for name in ("AP", "AP50", "VOC07_AP50")]
    minutes = [f"{seconds / 60:.1f}" for seconds in (trained - start, time.perf_counter() - trained)]
    columns = ["learning rate", "AP", "AP50", "mAP50 as in VOC07", "training, minutes", "test, minutes"]
    title = f"torchvision's RetinaNet, focal loss, {config.schedule.epochs} epochs, seed {config.seed}"
    print(f"\n{Table(title, columns, [[f'{config.schedule.learning_rate:g}', *row, *minutes]]).markdown()}")


class Network(nn.Module):
    """torchvision's detector on this project's backbone and pyramid.

    Args:
        config: of a run with `model=retinanet`.
        classes: how many there are.
    """

    def __init__(self, config: DictConfig, classes: int):
        super().__init__()
        model, side = config.model, config.dataset.train_size
        own = RetinaNet(classes, model.backbone, model.weights, model.channels, norms=model.norms)
        norms = model.weights is None if model.norms is None else model.norms
        # RetinaNet's own initialisation has a deviation of 0.01 in each head, as this project's.
        head = RetinaNetHead(
            model.channels, len(SCALES) * len(ASPECT_RATIOS), classes, norm_layer=group_norm if norms else None
        )
        sizes = tuple(tuple(stride * model.anchor_scale * scale for scale in SCALES) for stride in STRIDES)
        self.detector = TorchvisionRetinaNet(
            _Maps(own, model.channels),
            classes,
            anchor_generator=AnchorGenerator(sizes, (ASPECT_RATIOS,) * len(STRIDES)),
            head=head,
            min_size=side,
            max_size=side,
            image_mean=[0.0, 0.0, 0.0],  # the batches are normalised
            image_std=[1.0, 1.0, 1.0],
            score_thresh=model.score_threshold,
            topk_candidates=model.candidates_per_level,
            nms_thresh=model.nms_iou,
            detections_per_img=model.max_detections,
        ).to(memory_format=torch.channels_last)

    @property
    def backbone(self) -> nn.Module:
        """The layers that `schedule.backbone_rate` is about."""
        return self.detector.backbone.body


class _Maps(nn.Module):
    """The backbone and the pyramid of a RetinaNet of this project, as torchvision's detectors take them."""

    def __init__(self, network: RetinaNet, channels: int):
        super().__init__()
        self.body, self.pyramid, self.out_channels = network.body, network.pyramid, channels

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        return self.pyramid(OrderedDict(self.body(images)))


def train(network: Network, data: Data, config: DictConfig) -> None:
    """Train as long as the run does."""
    epochs = config.schedule.epochs
    batches = data.training_batches(epoch=0, epochs=epochs)
    optimizer, scheduler = build_optimizer(network, config.schedule, config.batch_size, len(batches))
    network.train()
    for batch in progress_bar(batches, "training"):
        images = batch.images.contiguous(memory_format=torch.channels_last)
        objects = zip(batch.boxes, batch.labels, strict=True)
        losses = network.detector(list(images), [{"boxes": boxes, "labels": labels} for boxes, labels in objects])
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        scheduler.step()


@torch.inference_mode()
def test(network: Network, data: Data, config: DictConfig) -> dict[str, float]:
    """Return the metrics on the test images."""
    network.eval()
    (view,) = data.views
    found: dict[int, Detections] = {}
    for batch in progress_bar(data.inference_batches(data.test, view, shared=False), "test"):
        outputs = network.detector(list(batch.images))
        for index, size, output in zip(batch.indexes, batch.sizes, outputs, strict=True):
            detections = Detections(output["boxes"], output["scores"], output["labels"])
            found[index] = detections.in_pixels_of(data.test[index], size)
    in_order = [found[index] for index in range(len(found))]
    return evaluate_detections(data.test, in_order, data.classes, max_detections=config.model.max_detections)


if __name__ == "__main__":
    main()
