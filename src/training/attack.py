"""Testing a finished detector under an attack: on perturbed test images."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from src.data.loading import interrupted_with_loaders
from src.detectors.detector import build_detector
from src.robustness.perturbed import build_perturbed_images
from src.runs.attempt import RunGuard
from src.runs.lineage import Lineage, describe_attempt
from src.training.checkpoint import load_weights
from src.training.experiment import (
    build_network,
    facts_of_run,
    log_test,
    open_log,
    read_and_note_data,
    write_summary,
)
from src.training.tester import Tester
from src.utils.device import choose_device
from src.utils.distributed import World


@interrupted_with_loaders()
def attack_and_test(
    config: DictConfig, directory: Path, name: str, *, world: World, guard: RunGuard, needed: Mapping[str, Path]
) -> None:
    """Test the detector of a finished run on perturbed test images, and leave everything in this run's folder.

    Nothing is trained. An attempt that is interrupted is made anew, with the same images.

    Args:
        config: resolved.
        name: the run's name for people.
        world: the processes that call this together.
        guard: of the run, which this process or the main one of its world holds.
        needed: with the folder of the detector's run as "attack".
    """
    start = time.time()
    detector = build_detector(config.model, config.dataset.train_size)
    data, data_facts = read_and_note_data(config, directory, detector, world=world, guard=guard)
    data = replace(data, read_test_image=build_perturbed_images(config.attack, config.seed))
    device = choose_device(config.device)
    network = build_network(config, detector, len(data.classes), device, world)
    load_weights(needed["attack"], network, data_facts["fingerprint"])
    tester = Tester(detector, network, data, config=config, world=world, guard=guard)

    lineage = Lineage(directory, [describe_attempt(guard.attempt)], data_facts["fingerprint"])
    facts = facts_of_run(config, directory, device, data=data_facts, needed=needed)
    with open_log(config, directory, name, facts=facts, lineage=lineage, world=world) as tracker:
        metrics = tester.evaluate()
        tracker.log(metrics)
        log_test(tester, directory, tracker)
    if world.is_main:
        summary = {"name": name, "metrics": metrics, **facts, "attempts": lineage.attempts}
        write_summary(config, directory, summary, guard=guard, start=start)
