"""Measure where the time of a training step goes on a CPU: processor time of each part, and its share.

    python -m benchmarks.step_parts recipe=mini
    python -m benchmarks.step_parts --steps 2 recipe=voc dataset=shapes dataset.train=trainval dataset.test=test \\
        model.weights=null batch_size=2

Takes the options of `python -m src.run`. The process that trains also loads the images, on a single thread. So nothing
overlaps, nothing waits, and other programs on the machine change little.
"""

import argparse
import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from omegaconf import DictConfig
from torchvision.transforms import v2

from benchmarks.configurations import compose_config
from src.costs.table import Table
from src.data import loading
from src.detectors.detector import build_detector
from src.training import step
from src.training.data import build_data
from src.training.experiment import build_trainer
from src.training.step import Trainer
from src.utils.distributed import World

WARM_UP = 1  # steps that are not counted
REST = "the rest, the backward pass of the loss among it"


class Clock:
    """Processor time by part; of parts within each other only the inner one counts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._parts: list[str] = []
        self._since = time.process_time()

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose calls count as this part."""

        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            with self.part(part):
                return function(*arguments, **options)

        return call

    @contextmanager
    def part(self, name: str) -> Any:
        """Count what happens inside as this part."""
        self._lap()
        self._parts.append(name)
        try:
            yield
        finally:
            self._lap()
            self._parts.pop()

    def _lap(self) -> None:
        now = time.process_time()
        self.seconds[self._parts[-1] if self._parts else REST] += now - self._since
        self._since = now


def main(words: Sequence[str] | None = None) -> None:
    """Measure the steps that a command line describes, and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.step_parts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=10, help="number of steps measured (default: %(default)s)")
    options, overrides = parser.parse_known_args(words)
    torch.set_num_threads(1)
    print(f"\n{measure(compose_config(overrides), options.steps).markdown()}")


def measure(config: DictConfig, steps: int) -> Table:
    """Return the table of a configuration's parts."""
    detector = build_detector(config.model, config.dataset.train_size)
    data = build_data(config, detector.normalisation, World())
    torch.manual_seed(config.seed)
    trainer = build_trainer(config, detector, data, torch.device("cpu"), World())
    clock = Clock()
    augment = data.train.transform
    assert isinstance(augment, v2.Compose)
    for transform in augment.transforms:
        part = "normalisation" if isinstance(transform, (v2.ToDtype, v2.Normalize)) else "augmentation"
        transform.forward = clock.timed(part, transform.forward)
    batches = loading.training_batches(data.train, config.batch_size, seed=config.seed, epochs=range(99), workers=0)
    with watched(trainer, clock), patch.object(loading, "read_image", clock.timed("reading", loading.read_image)):
        logits = run(trainer, batches, steps, clock)
    total = sum(clock.seconds.values())
    parts = sorted(clock.seconds.items(), key=lambda item: -item[1])
    rows = [[part, f"{1000 * seconds / steps:.1f}", f"{100 * seconds / total:.2f}%"] for part, seconds in parts]
    rows.append(["together", f"{1000 * total / steps:.1f}", "100%"])
    title = f"A step of {config.batch_size} images, {logits:,} logits, on one thread of a CPU"
    return Table(title, ["part", "ms of processor time", "share"], rows)


def run(trainer: Trainer, batches: Iterable[loading.TrainingBatch], steps: int, clock: Clock) -> int:
    """Train, let the clock measure all steps but the first, and return the number of logits."""
    iterator = iter(batches)
    for number in range(WARM_UP + steps):
        if number == WARM_UP:
            clock.seconds.clear()
        with clock.part("batching"):
            batch = next(iterator)
        read = trainer.step(batch).read()
    return int(read["ranked_logits"])


@contextmanager
def watched(trainer: Trainer, clock: Clock) -> Any:
    """Let a clock measure the parts of a trainer's steps."""
    trainer.forward = clock.timed("forward pass of the network", trainer.forward)
    trainer.classification_loss = clock.timed("classification loss", trainer.classification_loss)
    trainer.targets = clock.timed("targets", trainer.targets)  # type: ignore[method-assign]
    trainer.update_weights = clock.timed("backward pass of the network", trainer.update_weights)  # type: ignore[method-assign]
    trainer.optimizer.step = clock.timed("optimizer", trainer.optimizer.step)  # type: ignore[method-assign]
    with patch.object(step, "box_loss", clock.timed("box loss", step.box_loss)):
        yield


if __name__ == "__main__":
    main()
