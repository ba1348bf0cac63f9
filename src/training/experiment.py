"""The experiment that a configuration describes: data, detector, loss, training and test."""

import functools
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from src import losses
from src.config.identity import identity
from src.config.plain import to_plain
from src.config.registry import LOSSES, loss_call, used_options
from src.data.fingerprint import fingerprint_of_version_01
from src.data.loading import interrupted_with_loaders
from src.data.run_data import (
    DataChanged,
    check_same,
    check_same_weights,
    describe_data,
    describe_weights,
    read_noted,
    take_look,
)
from src.detectors.detector import Detector, build_detector
from src.detectors.proposals import propose
from src.detectors.sync_batch_norm import synchronise_batch_norms
from src.evaluation.coco_metrics import COCO_METRICS
from src.runs.attempt import RunGuard
from src.runs.lineage import Lineage, describe_attempt
from src.runs.log_parts import ATTEMPT, note_parts
from src.runs.set_aside import set_aside
from src.runs.tracking import Tracker, environment
from src.training.checkpoint import load_weights
from src.training.data import Data, build_data
from src.training.data_check import look_at_data
from src.training.gallery import log_detections
from src.training.optimizer import build_optimizer
from src.training.step import Trainer, TrainerOptions
from src.training.tester import Tester
from src.training.trainer import Length, RunContext, train
from src.utils.device import choose_device
from src.utils.distributed import World
from src.utils.files import write_atomically, write_json

logger = logging.getLogger(__name__)


@interrupted_with_loaders()
def train_and_test(
    config: DictConfig, directory: Path, name: str, *, world: World, guard: RunGuard, needed: Mapping[str, Path]
) -> None:
    """Train a detector, from its last checkpoint if there is one, test it, and leave everything in the run's folder.

    Args:
        config: resolved.
        name: the run's human-readable name.
        world: the processes that call this together.
        guard: of the run, which this process or the main one of its world holds.
        needed: the folders of the runs that this one needs, all finished, by their keys in `src.config.needs.NEEDS`.
    """
    start = time.time()
    detector = build_detector(config.model, config.dataset.train_size, reads_weights="snapshot" not in needed)
    data, data_facts = read_and_note_data(config, directory, detector, world=world, guard=guard)
    torch.manual_seed(config.seed)
    device = choose_device(config.device)
    trainer = build_trainer(config, detector, data, device, world)
    if "snapshot" in needed:
        load_weights(needed["snapshot"], trainer.model)
    if "proposals" in needed:
        trainer.propose = build_proposals(config, detector, needed["proposals"], device)
    tester = Tester(detector, trainer.model, data, config=config, world=world, guard=guard)

    lineage = Lineage(directory, [describe_attempt(guard.attempt)], data_facts["fingerprint"])
    facts = facts_of_run(config, directory, device, data=data_facts, needed=needed)
    size = config.dataset.train_size
    facts["anchors"] = sum(len(level) for level in detector.anchors(size, size))  # of a training image
    with open_log(config, directory, name, facts=facts, lineage=lineage, world=world) as tracker:
        context = RunContext(directory / "checkpoint.pt", config.checkpoint_minutes, tracker, guard, lineage, name)
        length = Length(*(config.schedule[key] for key in ("epochs", "evaluate_every", "steps")))
        metrics = train(trainer, data.training_batches, tester.evaluate, length, context)
        if length.steps is None:
            log_test(tester, directory, tracker)
    if world.is_main:
        summary = {"name": name, "metrics": metrics, **facts, "attempts": lineage.attempts}
        write_summary(config, directory, summary, guard=guard, start=start)


def read_and_note_data(
    config: DictConfig, directory: Path, detector: Detector, *, world: World, guard: RunGuard
) -> tuple[Data, dict[str, Any]]:
    """Read and check a run's data, and note them in its folder; return them, and what to log about them.

    Raises:
        DataError: something is wrong on disk.
        DataChanged: the folder has a checkpoint of other data.
    """
    look = take_look(to_plain(config.dataset), config.outputs) if world.is_main else {}
    data = build_data(config, detector.normalisation, world)
    look_at_data(config, detector, data.train.records, data.test, data.classes, log=world.is_main)

    def note(show_life: Callable[[], None]) -> dict[str, Any]:
        return note_data(config, directory, data, look=look, guard=guard, show_life=show_life)

    return data, world.on_main(note)


def facts_of_run(
    config: DictConfig,
    directory: Path,
    device: torch.device,
    *,
    data: dict[str, Any],
    needed: Mapping[str, Path],
) -> dict[str, Any]:
    """Return what a run logs about itself besides its configuration; its summary keeps it too."""
    facts = {"run_id": directory.name, "identity": identity(config), "environment": environment(device), "data": data}
    return facts | ({"needs": {key: folder.name for key, folder in needed.items()}} if needed else {})


def open_log(
    config: DictConfig, directory: Path, name: str, *, facts: dict[str, Any], lineage: Lineage, world: World
) -> Tracker:
    """Write a run's configuration into its folder, and open its log, to which the main process alone writes."""
    if world.is_main:
        write_atomically(directory / "config.yaml", lambda file: OmegaConf.save(config, file))
    logged_to = config.wandb if world.is_main else {**config.wandb, "mode": "disabled"}
    attempts = {ATTEMPT: lineage.attempts[-1]["attempt"], "attempts": lineage.attempts}
    return Tracker(directory, name, {**to_plain(config), **facts, **attempts}, **logged_to)


def log_test(tester: Tester, directory: Path, tracker: Tracker) -> None:
    """Log the scores of the test images' anchors, and detections on some images, from the last test."""
    if tester.last_test is None:  # the run was tested by an earlier process
        tester.all_detections()
    last = tester.last_test
    assert last is not None
    parts = tester.world.gather_to_main(last.anchor_scores)
    if not tester.world.is_main:
        return
    tracker.log({"anchor_scores": sum(parts).tolist()})
    if tester.config.images_logged:
        count = tester.config.images_logged
        log_detections(tester.data, last.detections, tracker, directory=directory, count=count)


def write_summary(
    config: DictConfig, directory: Path, summary: dict[str, Any], *, guard: RunGuard, start: float
) -> None:
    """Write a run's summary, which makes it finished, and print its metrics.

    Args:
        summary: the run's metrics and facts.
        start: of the attempt, in seconds since the epoch.
    """
    summary = {**summary, "command": to_plain(config.command), "log": note_parts(directory)}
    summary["seconds"] = time.time() - start
    guard.write(lambda: write_json(directory / "summary.json", summary))
    metrics = summary["metrics"]
    shown = [key for key in (*COCO_METRICS[:3], "minimal_perturbation", "patch_loss") if key in metrics]
    headline = ", ".join(f"{key} {metrics[key]:.1f}" for key in shown)
    split = config.dataset.train if "patch_loss" in metrics else config.dataset.test
    done = f"{headline} on {split} of {config.dataset.name}" if metrics else "Trained without a test"
    logger.info("%s (%s). Results: %s", done, summary["name"], directory)


def note_data(
    config: DictConfig,
    directory: Path,
    data: Data,
    *,
    look: dict[str, str],
    guard: RunGuard,
    show_life: Callable[[], None],
) -> dict[str, Any]:
    """Write into a run's folder which data and weights the run uses, and return what to log about them.

    Results on others are set aside; if there is a checkpoint among them, only with retry=true.

    Args:
        directory: the run's folder, of which this process holds the lock.
        look: the quick look at the data set, taken before it was read.
        guard: of the run.
        show_life: called regularly, so that the other processes keep waiting.

    Raises:
        DataChanged: the folder has a checkpoint of other data or weights.
        DataError: an image cannot be decoded, or disagrees with its annotation.
    """
    train, test = data.train.records, data.test

    def check_stop() -> None:
        guard.check_stop()
        show_life()

    now = describe_data(
        to_plain(config.dataset),
        (train, test, data.classes),
        look,
        outputs=config.outputs,
        workers=config.workers,
        check_stop=check_stop,
    )
    now |= describe_weights(config.model.get("weights"))
    noted = read_noted(directory / "data.json")
    if noted is not None:
        try:
            check_same(directory, noted, now, of_version_01=fingerprint_of_version_01(train + test))
            check_same_weights(directory, noted, now)
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
    """Build the loss of (logits, targets): its value is that of all processes, its gradients are to be summed."""
    if not LOSSES[config.loss.name].trains:
        return no_loss
    function, arguments = loss_call(config)
    loss = functools.partial(getattr(losses, function), **arguments)
    if not ("ranking" in used_options(config) and config.ranking == "per_process"):
        return functools.partial(loss, process_group=world.group)

    def mean_over_processes(logits: Tensor, targets: Tensor) -> Tensor:
        """Rank only this process's logits; what is optimised and returned is the mean over processes."""
        value = loss(logits, targets) / world.size
        return value + (world.all_reduce_sum(value) - value.detach())

    return mean_over_processes


def no_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return 0, with a zero gradient for each logit, from which the network runs backward as from a loss's."""
    return logits.sum(dtype=torch.float32) * 0  # in float16 the sum would overflow


def build_proposals(
    config: DictConfig, detector: Detector, directory: Path, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """Build the function that chooses the ranked anchors, by the frozen RPN of a finished run.

    Args:
        directory: of the RPN's run.
    """
    rpn = detector.build_network(1)
    load_weights(directory, rpn)
    rpn = rpn.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
    return functools.partial(propose, rpn, count=config.proposals)


def build_trainer(config: DictConfig, detector: Detector, data: Data, device: torch.device, world: World) -> Trainer:
    """Build what trains a detector: network, loss, optimizer, and the options of a step."""
    schedule = config.schedule
    network = build_network(config, detector, len(data.classes), device, world)
    steps = schedule.steps or schedule.epochs * len(data.training_batches(epoch=0))
    optimizer, scheduler = build_optimizer(network, schedule, config.batch_size, steps)
    options = TrainerOptions(
        classes=len(data.classes),
        image_size=config.dataset.train_size,
        box_loss_weight=schedule.box_loss_weight,
        precision=config.precision,
        clip_gradient=schedule.clip_gradient,
        log_ap_loss=LOSSES[config.loss.name].logs_ap_loss,
        compile=config.compile,
        overlap=config.overlap,
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
