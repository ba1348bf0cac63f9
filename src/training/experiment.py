"""The experiment that a configuration describes: data, detector, loss, training and test."""

import functools
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from src import losses
from src.config.identity import identity, to_plain
from src.config.registry import LOSSES, loss_call, used_options
from src.data.fingerprint import fingerprint_of_version_01
from src.data.loading import interrupted_with_loaders
from src.data.run_data import DataChanged, check_same, describe_data, read_noted, take_look
from src.detectors.detector import Detector, build_detector
from src.detectors.sync_batch_norm import synchronise_batch_norms
from src.evaluation.coco_metrics import COCO_METRICS
from src.runs.attempt import RunGuard
from src.runs.lineage import Lineage, describe_attempt
from src.runs.log_parts import ATTEMPT, note_parts
from src.runs.set_aside import set_aside
from src.runs.tracking import Tracker, environment
from src.training.data import Data, build_data
from src.training.data_check import look_at_data
from src.training.gallery import log_detections
from src.training.optimizer import build_optimizer
from src.training.tester import Tester
from src.training.trainer import RunContext, Trainer, TrainerOptions, train
from src.utils.device import choose_device
from src.utils.distributed import World
from src.utils.files import write_atomically, write_json

logger = logging.getLogger(__name__)


@interrupted_with_loaders()
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
    look_at_data(config, data.train.records, data.test, data.classes, log=world.is_main)
    data_facts = world.on_main(lambda wait: note_data(config, directory, data, look=look, guard=guard, wait=wait))
    torch.manual_seed(config.seed)
    device = choose_device(config.device)
    trainer = build_trainer(config, detector, data, device, world)
    tester = Tester(detector, trainer.model, data, config=config, world=world, guard=guard)

    lineage = Lineage(directory, [describe_attempt(guard.attempt)], data_facts["fingerprint"])
    facts = {"run_id": directory.name, "identity": identity(config), "environment": environment(device)}
    facts["data"] = data_facts
    if world.is_main:
        write_atomically(directory / "config.yaml", lambda file: OmegaConf.save(config, file))
    logged_to = config.wandb if world.is_main else {**config.wandb, "mode": "disabled"}
    logged = {**to_plain(config), **facts, ATTEMPT: guard.attempt, "attempts": lineage.attempts}
    with Tracker(directory, name, logged, **logged_to) as tracker:
        context = RunContext(directory / "checkpoint.pt", config.checkpoint_minutes, tracker, guard, lineage, name)
        schedule = config.schedule
        metrics = train(
            trainer, data.training_batches, schedule.epochs, tester.evaluate, schedule.evaluate_every, context
        )
        counts = tester.count_anchor_scores()
        if counts is not None:
            tracker.log({"anchor_scores": counts.tolist()})
        if config.images_logged and world.is_main:
            log_detections(tester, tracker, directory, config.images_logged)
    if world.is_main:
        summary = {"name": name, "metrics": metrics, **facts, "command": to_plain(config.command)}
        summary |= {"attempts": lineage.attempts, "log": note_parts(directory), "seconds": time.time() - start}
        guard.write(lambda: write_json(directory / "summary.json", summary))
        headline = ", ".join(f"{key} {metrics[key]:.1f}" for key in COCO_METRICS[:3])
        test = f"{config.dataset.test} of {config.dataset.name}"
        logger.info("%s on %s (%s). Pictures, log, weights: %s", headline, test, name, directory)


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
    noted = read_noted(directory / "data.json")
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
