"""Measure training images per second on a CPU: this project with AP-loss and focal loss, and torchvision's RetinaNet.

    python -m benchmarks.training                              ResNet-50, 512 × 512, batches of 2: minutes
    python -m benchmarks.training --backbone resnet18 --side 256 --batch 8

All train on the same images of the built-in set, which come from one loader: each detector makes a step on each batch,
in an order that rotates. They have the same backbone, the same pyramid and heads of 256 channels without norms, and the
same 6 anchors per cell, start from random weights, and use SGD. torchvision's is its own
`torchvision.models.detection.RetinaNet`, with its focal loss, matching and image transform; it gets images that are
normalised already, and is told so. Options of `python -m src.run` can be added, such as dataset.root=DIR.
"""

import argparse
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import torch
import torchvision
from tqdm import tqdm

from benchmarks.configurations import compose_config
from benchmarks.gpu.throughput import torchvision_retinanet
from src.costs.table import Table
from src.data.loading import TrainingBatch
from src.detectors.detector import build_detector
from src.detectors.retinanet import ASPECT_RATIOS, SCALES
from src.training.data import Data, build_data
from src.training.experiment import build_trainer
from src.utils.distributed import World
from src.utils.text import counted

Step = Callable[[TrainingBatch], object]
AP, FOCAL, TORCHVISION, COMPILED = "AP-loss", "focal loss", "torchvision, focal loss", "AP-loss, compile=true"
WARM_UP = 2  # batches that are not counted


def main(words: Sequence[str] | None = None) -> None:
    """Measure what a command line asks for, and print a table."""
    options = parse(words)
    torch.set_num_threads(options.threads)
    data, steps = build(options)
    seconds = step_seconds(steps, data, options)
    print(f"\n{table(seconds, options).markdown()}")


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of a command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="resnet50", choices=["resnet18", "resnet50", "resnet101"])
    parser.add_argument("--side", type=int, default=512, help="of the images, in pixels (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=2, help="images per step (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=8, help="number of batches measured (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes that load images (default: %(default)s)")
    parser.add_argument("--processor-time", action="store_true", help="not wall time, for machines with other work")
    parser.add_argument("--compiled", action="store_true", help="also measure the network under torch.compile")
    options, overrides = parser.parse_known_args(words)
    options.overrides = overrides
    return options


def build(options: argparse.Namespace) -> tuple[Data, dict[str, Step]]:
    """Return the data, and each detector's step on a batch."""
    common = ["recipe=voc", "dataset=shapes", "model.weights=null", "model.norms=false"]
    common += [f"dataset.train_size={options.side}", f"model.backbone={options.backbone}"]
    common += [f"batch_size={options.batch}", f"workers={options.workers}", "device=cpu", *options.overrides]
    own = {AP: ["loss=ap"], FOCAL: ["loss=focal"]}
    if options.compiled:
        own[COMPILED] = ["loss=ap", "compile=true"]
    steps: dict[str, Step] = {}
    for name, overrides in own.items():
        config = compose_config([*common, *overrides])
        detector = build_detector(config.model, options.side)
        data = build_data(config, detector.normalisation, World())
        torch.manual_seed(0)
        trainer = build_trainer(config, detector, data, torch.device("cpu"), World())
        steps[name] = lambda batch, trainer=trainer: trainer.step(batch).read()  # type: ignore[misc]
    steps[TORCHVISION] = torchvision_step(options.backbone, options.side, len(data.classes))
    return data, steps


def torchvision_step(backbone: str, side: int, classes: int) -> Step:
    """Return the step of torchvision's detector, as its reference scripts make it."""
    sizes = tuple(tuple(round(32 * 2**level * scale) for scale in SCALES) for level in range(5))
    torch.manual_seed(0)
    model = torchvision_retinanet(backbone, side, classes=classes, sizes=sizes, aspect_ratios=ASPECT_RATIOS).train()
    model.transform.image_mean, model.transform.image_std = [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4)

    def step(batch: TrainingBatch) -> float:
        objects = zip(batch.boxes, batch.labels, strict=True)
        losses = model(list(batch.images), [{"boxes": boxes, "labels": labels} for boxes, labels in objects])
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        return total.item()

    return step


def step_seconds(steps: dict[str, Step], data: Data, options: argparse.Namespace) -> dict[str, list[float]]:
    """Return the seconds of each detector's step on each batch."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    names, total = list(steps), WARM_UP + options.batches
    clock = time.process_time if options.processor_time else time.perf_counter
    for number, batch in enumerate(tqdm(take(data, total), total=total, unit="batch")):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = clock()
            steps[name](batch)
            if number >= WARM_UP:
                seconds[name].append(clock() - start)
    return seconds


def take(data: Data, batches: int) -> Iterator[TrainingBatch]:
    """Yield the first batches of the training."""
    epochs = math.ceil(batches / len(data.training_batches(epoch=0)))
    return itertools.islice(data.training_batches(epoch=0, epochs=epochs), batches)


def table(seconds: dict[str, list[float]], options: argparse.Namespace) -> Table:
    """Return the table of images a second, with the medians of the ratios on each batch."""
    rows = []
    for name, of_name in seconds.items():
        rates = [options.batch / value for value in of_name]
        others = [zip(of_name, seconds[other], strict=True) for other in (TORCHVISION, FOCAL)]
        over = [statistics.median(theirs / own for own, theirs in pairs) for pairs in others]
        spread = f"{statistics.median(rates):.3g} ({min(rates):.3g} to {max(rates):.3g})"
        rows.append([name, spread, *(f"{ratio:.3f}×" for ratio in over)])
    time_of = "processor time" if options.processor_time else "wall time"
    title = (
        f"Training of RetinaNet-{options.backbone} at {options.side} × {options.side}, batches of {options.batch}, "
        f"{counted(options.threads, 'CPU thread')}, {time_of}, torch {torch.__version__}, "
        f"torchvision {torchvision.__version__}, {time.strftime('%F')}: median images a second (slowest to fastest of "
        f"{options.batches} steps)"
    )
    return Table(title, ["detector", "images/s", f"over {TORCHVISION}", f"over {FOCAL}"], rows)


if __name__ == "__main__":
    main()
