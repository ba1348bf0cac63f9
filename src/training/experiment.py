"""The experiment that a configuration describes: data, detector, loss, training and test."""

import functools
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from src import losses
from src.config.identity import identity, to_plain
from src.config.registry import LOSSES, loss_call, used_options
from src.data.datasets import read_data
from src.data.fingerprint import fingerprint_of_version_01
from src.data.loading import InferenceBatch, Share, TrainingBatch, TrainingSet, inference_batches, training_batches
from src.data.records import ImageRecord
from src.data.run_data import DataChanged, check_same, describe_data, take_look
from src.data.transforms import Normalisation, inference_transform, training_transform
from src.detectors.detector import Detector, build_detector
from src.detectors.inference import image_outputs, predict
from src.detectors.postprocess import ImageOutputs
from src.detectors.sync_batch_norm import synchronise_batch_norms
from src.evaluation.anchor_scores import anchor_scores
from src.evaluation.coco_metrics import COCO_METRICS, evaluate_detections
from src.evaluation.drawing import draw_detections, evenly_spaced, write_png
from src.runs.attempt import RunGuard
from src.runs.earlier_data import set_aside
from src.runs.tracking import Tracker, environment
from src.training.data_check import look_at_data
from src.training.optimizer import build_optimizer
from src.training.trainer import RunContext, Trainer, TrainerOptions, train
from src.utils.device import choose_device
from src.utils.distributed import World
from src.utils.files import read_json, write_atomically, write_json

logger = logging.getLogger(__name__)


def train_and_test(config: DictConfig, directory: Path, name: str, world: World, guard: RunGuard) -> None:
    """Train a detector from its last checkpoint, if there is one, test it, and leave everything in the run's folder.

    Args:
        config: resolved.
        name: the run's name for people.
        guard: of the run, which this process or the main one of its world holds.
    """
    start = time.time()
    look = take_look(to_plain(config.dataset), config.outputs) if world.is_main else {}
    detector = build_detector(config.model, config.dataset.train_size)
    data = build_data(config, detector.normalisation, world)
    look_at_data(config, detector, (data.train.records, data.test), classes=data.classes, log=world.is_main)
    data_facts = world.on_main(lambda wait: note_data(config, directory, data, look=look, guard=guard, wait=wait))
    torch.manual_seed(config.seed)
    device = choose_device(config.device)
    trainer = build_trainer(config, detector, data, device, world)
    tester = Tester(detector, trainer.model, data, config=config, world=world, guard=guard)

    facts = {"run_id": directory.name, "identity": identity(config), "environment": environment(device)}
    facts["data"] = data_facts
    if world.is_main:
        write_atomically(directory / "config.yaml", lambda file: OmegaConf.save(config, file))
    logged_to = config.wandb if world.is_main else {**config.wandb, "mode": "disabled"}
    with Tracker(directory, name, {**to_plain(config), **facts}, **logged_to) as tracker:
        context = RunContext(directory / "checkpoint.pt", config.checkpoint_minutes, tracker, guard, name)
        schedule = config.schedule
        metrics = train(
            trainer, data.training_batches, schedule.epochs, tester.evaluate, schedule.evaluate_every, context
        )
        counts = tester.count_anchor_scores()
        if counts is not None:
            tracker.log({"anchor_scores": counts.tolist()})
        sample = evenly_spaced(data.test, config.images_logged)
        if sample and world.is_main:
            tester.draw(directory / "detections.png", sample)
            tracker.log_image("detections", directory / "detections.png")
    if world.is_main:
        guard.check_lock()
        summary = {"name": name, "metrics": metrics, **facts, "command": to_plain(config.command)}
        write_json(directory / "summary.json", {**summary, "seconds": time.time() - start})
        headline = ", ".join(f"{key} {metrics[key]:.1f}" for key in COCO_METRICS[:3])
        test = f"{config.dataset.test} of {config.dataset.name}"
        logger.info("%s on %s (%s). Pictures, log, weights: %s", headline, test, name, directory)


@dataclass(frozen=True)
class Data:
    """The images to train on and to test on, in batches; of several processes each loads its part."""

    train: TrainingSet
    test: list[ImageRecord]
    classes: list[str]
    resize: v2.Transform  # of test images
    batch_size: int  # of all processes together
    seed: int  # of the order of images and their augmentation
    workers: int
    world: World

    def training_batches(self, epoch: int, skip: int = 0) -> DataLoader[TrainingBatch]:
        """Return this process's part of the batches of an epoch, but for the first `skip`."""
        return training_batches(
            self.train,
            self.batch_size,
            seed=self.seed,
            epoch=epoch,
            workers=self.workers,
            skip=skip,
            share=Share(self.world.rank, self.world.size),
        )

    def inference_batches(self, records: list[ImageRecord], shared: bool) -> DataLoader[InferenceBatch]:
        """Return the images of these records; with `shared` only this process's part of them."""
        share = Share(self.world.rank, self.world.size) if shared else Share()
        return inference_batches(records, self.resize, self.batch_size, workers=self.workers, share=share)


def build_data(config: DictConfig, normalisation: Normalisation, world: World) -> Data:
    """Read the data set of a configuration.

    Args:
        config: resolved.
        normalisation: of the network's input.
        world: the processes that share the images.

    Raises:
        DataError: something is wrong on disk; the message names the file.
    """
    dataset = config.dataset
    train_records, test_records, classes = _read(config)
    augment = training_transform(dataset.train_size, dataset.augmentation, normalisation)
    test_size = dataset.train_size, dataset.test_shorter_side, dataset.test_longer_side
    resize, train_set = inference_transform(*test_size, normalisation), TrainingSet(train_records, augment)
    return Data(train_set, test_records, classes, resize, config.batch_size, config.seed, config.workers, world)


def note_data(
    config: DictConfig,
    directory: Path,
    data: Data,
    *,
    look: dict[str, str],
    guard: RunGuard,
    wait: Callable[[], None],
) -> dict[str, Any]:
    """Write into a run's folder which data the run is on, and return what is to be logged of that.

    What the folder holds of other data is set aside; only a checkpoint needs retry=true for that.

    Args:
        directory: the run's folder, of which this process holds the lock.
        look: at the data set before it was read.
        guard: of the run.
        wait: called again and again, so that the other processes wait.

    Raises:
        DataChanged: the folder has a checkpoint of other data.
        DataError: an image cannot be decoded, or disagrees with its annotation.
    """
    train, test = data.train.records, data.test

    def check_stop() -> None:
        guard.check_stop()
        wait()

    now = describe_data(
        to_plain(config.dataset),
        (train, test, data.classes),
        look,
        outputs=config.outputs,
        workers=config.workers,
        check_stop=check_stop,
    )
    noted = read_json(directory / "data.json")
    if noted is not None:
        try:
            check_same(directory, noted, now, of_version_01=fingerprint_of_version_01(train + test))
        except DataChanged:
            if (directory / "checkpoint.pt").exists() and not config.retry:
                raise
            set_aside(directory)
    write_json(directory / "data.json", now)
    return {key: value for key, value in now.items() if key != "details"}


def build_network(
    config: DictConfig, detector: Detector, classes: int, device: torch.device, world: World
) -> nn.Module:
    """Build a detector's network with random or pretrained weights, on a device."""
    network = detector.build_network(classes + int(LOSSES[config.loss.name].background_output))
    if world.size > 1:
        network = synchronise_batch_norms(network, device)
    return network.to(device).to(memory_format=torch.channels_last)


def build_loss(config: DictConfig, world: World) -> Callable[[Tensor, Tensor], Tensor]:
    """Build the loss of (logits, targets): its value is that of all processes, its gradients are to be added up."""
    function, arguments = loss_call(config)
    loss = functools.partial(getattr(losses, function), **arguments)
    if not ("ranking" in used_options(config) and config.ranking == "per_process"):
        return functools.partial(loss, process_group=world.group)

    def mean_over_processes(logits: Tensor, targets: Tensor) -> Tensor:
        """Rank this process's own logits alone; what is optimised and returned is the mean over processes."""
        value = loss(logits, targets) / world.size
        return value + (world.all_reduce_sum(value) - value.detach())

    return mean_over_processes


def build_trainer(config: DictConfig, detector: Detector, data: Data, device: torch.device, world: World) -> Trainer:
    """Build what trains a detector: network, loss, optimizer, and the options of a step."""
    schedule = config.schedule
    network = build_network(config, detector, len(data.classes), device, world)
    steps = schedule.epochs * len(data.training_batches(epoch=0))
    optimizer, scheduler = build_optimizer(network, schedule, config.batch_size, steps)
    options = TrainerOptions(
        classes=len(data.classes),
        box_loss_weight=schedule.box_loss_weight,
        precision=config.precision,
        clip_gradient=schedule.clip_gradient,
        log_ap_loss=LOSSES[config.loss.name].logs_ap_loss,
    )
    return Trainer(
        detector,
        network,
        build_loss(config, world),
        optimizer=optimizer,
        scheduler=scheduler,
        device=device,
        options=options,
        world=world,
    )


@dataclass(frozen=True)
class Tester:
    """Tests a detector as it is, with all processes."""

    detector: Detector
    network: nn.Module
    data: Data
    config: DictConfig
    world: World
    guard: RunGuard

    def outputs(self, records: list[ImageRecord], shared: bool) -> Iterator[ImageOutputs]:
        """Yield the detector's outputs on images; raise Interrupted when a signal asks to stop."""
        softmax = LOSSES[self.config.loss.name].background_output
        activation = losses.softmax_scores if softmax else torch.sigmoid
        batches = self._until_stopped(self.data.inference_batches(records, shared))
        device = next(self.network.parameters()).device
        return image_outputs(self.network, self.detector, batches, device, activation)

    def _until_stopped(self, batches: Iterable[InferenceBatch]) -> Iterator[InferenceBatch]:
        for batch in batches:
            self.guard.check_stop()
            yield batch

    def evaluate(self) -> dict[str, float]:
        """Return the metrics on the test images, on all processes."""
        records = self.data.test
        outputs = self.outputs(records, shared=True)
        parts = self.world.gather_to_main(predict(outputs, records, self.detector.detect))
        detections = {index: one for part in parts for index, one in part.items()}
        metrics = None
        if self.world.is_main:
            in_order = [detections[index] for index in range(len(records))]
            most = self.config.model.max_detections
            metrics = evaluate_detections(records, in_order, self.data.classes, max_detections=most)
        return self.world.broadcast(metrics)

    def count_anchor_scores(self) -> Tensor | None:
        """Count the anchors of the test images by IoU and score, on the main process; None on the others."""
        counts = anchor_scores(self.outputs(self.data.test, shared=True), self.data.test)
        parts = self.world.gather_to_main(counts)
        return sum(parts) if self.world.is_main else None

    def draw(self, file: Path, records: list[ImageRecord]) -> None:
        """Draw the detections on these images, on this process alone."""
        detections = predict(self.outputs(records, shared=False), records, self.detector.detect)
        in_order = [detections[index] for index in range(len(records))]
        write_png(file, lambda: draw_detections(records, in_order, self.data.classes))


def _read(config: DictConfig) -> tuple[list[ImageRecord], list[ImageRecord], list[str]]:
    dataset = config.dataset
    return read_data(dataset.format, dataset.root, train=dataset.train, test=dataset.test, classes=dataset.classes)
