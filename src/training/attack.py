"""Test a finished detector under an attack."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from src.data.loading import interrupted_with_loaders
from src.detectors.detector import build_detector
from src.robustness.patches import image_generator, patch_facts, summarise_patches
from src.robustness.perturbed import build_perturbed_images
from src.runs.attempt import RunGuard
from src.runs.lineage import Lineage, describe_attempt
from src.training.checkpoint import load_weights
from src.training.deepfool import deepfool_and_log
from src.training.experiment import (
    build_network,
    facts_of_run,
    log_test,
    open_log,
    read_and_note_data,
    write_summary,
)
from src.training.patch_making import make_and_log_patch, read_patch
from src.training.run_log import RunLog
from src.training.tester import Tester
from src.utils.device import choose_device
from src.utils.distributed import World


@interrupted_with_loaders()
def attack_and_test(
    config: DictConfig, directory: Path, name: str, *, world: World, guard: RunGuard, needed: Mapping[str, Path]
) -> None:
    """Test the detector of a finished run under an attack, and leave everything in this run's folder.

    Nothing is trained. After an interruption the test starts over, on the same images; DeepFool resumes where it was.

    Args:
        config: resolved.
        name: the run's human-readable name.
        world: the processes that call this together.
        guard: of the run, which this process or the main one of its world holds.
        needed: with the folder of the detector's run as "attack".
    """
    start = time.time()
    detector = build_detector(config.model, config.dataset.train_size, reads_weights=False)
    data, data_facts = read_and_note_data(config, directory, detector, world=world, guard=guard)
    device = choose_device(config.device)
    network = build_network(config, detector, len(data.classes), device, world)
    load_weights(needed["attack"], network, data_facts["fingerprint"])
    tester = Tester(detector, network, data, config=config, world=world, guard=guard)

    lineage = Lineage(directory, [describe_attempt(guard.attempt)], data_facts["fingerprint"])
    facts = facts_of_run(config, directory, device, data=data_facts, needed=needed)
    test = OTHER_TESTS.get(config.attack.name, _test_on_perturbed_images)
    with open_log(config, directory, name, facts=facts, lineage=lineage, world=world) as tracker:
        metrics = test(tester, RunLog(directory, tracker, lineage, needed))
    if world.is_main:
        summary = {"name": name, "metrics": metrics, **facts, "attempts": lineage.attempts}
        write_summary(config, directory, summary, guard=guard, start=start)


def _test_on_perturbed_images(tester: Tester, log: RunLog) -> dict[str, float]:
    """Log and return the metrics on the perturbed test images, and how much of them patches cover."""
    made = {"patch": read_patch(log.needed["patch"])} if "patch" in log.needed else {}
    read = build_perturbed_images(tester.config.attack, tester.config.seed, **made)
    tester = replace(tester, data=replace(tester.data, read_test_image=read))
    metrics = tester.evaluate() | _facts_of_patches(tester)
    log.tracker.log(metrics)
    log_test(tester, log.directory, log.tracker)
    return metrics


def _facts_of_patches(tester: Tester) -> dict[str, float]:
    """Return how much of the test images the attack's patches cover, as `patches/…`; nothing without patches."""
    attack, seed = tester.config.attack, tester.config.seed
    if "place" not in attack:
        return {}
    options = {key: attack[key] for key in ("size", "place", "difficult")}
    facts = [patch_facts(one, image_generator(seed, one.image_id), **options) for one in tester.data.test]
    return {f"patches/{key}": value for key, value in summarise_patches(facts).items()}


# The attacks that do not simply perturb each image before the test.
OTHER_TESTS: dict[str, Callable[[Tester, RunLog], dict[str, float]]] = {
    "deepfool": deepfool_and_log,
    "patch_making": make_and_log_patch,
}
