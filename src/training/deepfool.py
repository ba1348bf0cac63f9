"""Test a detector with DeepFool: how little a test image must change before an object is lost."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from src.config.registry import LOSSES
from src.data.records import ImageRecord
from src.data.run_data import read_noted
from src.data.transforms import inference_resize
from src.detectors.detections import Detections
from src.evaluation.f1 import best_f1
from src.robustness.attacked_detector import AttackedDetector
from src.robustness.deepfool import DeepFoolResult, Perturbation
from src.robustness.deepfool_images import choose_images, deepfool_images, summarise
from src.training.gallery import Gallery, choose, log_gallery
from src.training.run_log import RunLog
from src.training.tester import Tester
from src.utils.errors import UserError
from src.utils.files import write_json
from src.utils.progress import progress_bar
from src.utils.text import counted

logger = logging.getLogger(__name__)

Attack = Callable[[Sequence[ImageRecord]], Iterator[DeepFoolResult]]
MOST_SHOWN = 4  # images in the gallery; each costs as much as an image of the test


def deepfool_and_log(tester: Tester, log: RunLog) -> dict[str, float]:
    """Log and return the smallest changes of test images after which objects are lost, using all processes.

    Scores of different losses are not comparable, so an object counts as detected at the score threshold with the
    detector's highest F1 on the clean test images. `minimal_perturbation` is the mean over images of the smallest L2
    norm, in grey levels at the network's input. Results are kept image by image, so that an interrupted run resumes.
    """
    world, data = tester.world, tester.data
    detections = tester.all_detections()
    threshold, f1 = world.on_main(lambda _: best_f1(data.test, detections, data.classes))
    if math.isnan(threshold):
        raise UserError(
            f"none of the detections on {len(data.test)} test images is right, so that no score threshold can be "
            "chosen: the detector needs more training"
        )
    attacked = AttackedDetector(tester.detector, tester.network, LOSSES[tester.config.loss.name].background_output)
    attack = partial(_attack, tester.config, attacked, threshold)
    summary = summarise(_attack_each(tester, attack, log.directory / "deepfool.json"))
    metrics = {"minimal_perturbation": summary["l2"], "score_threshold": threshold, "f1": f1}
    metrics |= {f"deepfool/{key}": value for key, value in summary.items()}
    log.tracker.log(metrics)
    if world.is_main and not summary["images_changed"]:
        logger.warning("warning: there is no minimal perturbation: %s", _why_none(summary, threshold, len(data.test)))
    shown = _attack_shown(tester, attack, attacked)
    if shown[0]:
        gallery = Gallery(*shown, threshold, f1, len(data.test))
        log_gallery(gallery, data.classes, log.tracker, log.directory)
    return metrics


def _why_none(summary: Mapping[str, float], threshold: float, available: int) -> str:
    """Return why no image is changed, and what to do, from the result of :func:`summarise` and the number of images."""
    images, objects = counted(int(summary["images"]), "image"), counted(int(summary["objects"]), "object")
    if not summary["objects"]:
        advice = "raise attack.images" if summary["images"] < available else "the detector needs more training"
        return f"no object in {images} is detected with a score of {threshold:.3g} or more; {advice}"
    return f"none of {objects} detected in {images} is lost within the iterations; raise attack.iterations"


def _attack(
    config: DictConfig, attacked: AttackedDetector, threshold: float, records: Sequence[ImageRecord]
) -> Iterator[DeepFoolResult]:
    """Yield the result for each image."""
    options, dataset = config.attack, config.dataset
    resize = inference_resize(dataset.train_size, dataset.test_shorter_side, dataset.test_longer_side)
    limits = {"iterations": options.iterations, "overshoot": options.overshoot}
    return deepfool_images(attacked, records, resize, threshold=threshold, **limits)


def _attack_each(tester: Tester, attack: Attack, file: Path) -> list[DeepFoolResult]:
    """Return the result for each chosen image; those that a file has are taken from there.

    Args:
        file: where results are kept, in the run's folder.
    """
    config, world = tester.config, tester.world
    records = choose_images(tester.data.test, config.attack.images, config.seed)
    done: dict[str, Any] = world.broadcast((read_noted(file) or {}) if world.is_main else None)
    left = [number for number in range(len(records)) if str(number) not in done]
    with progress_bar(left, "DeepFool", done=len(done), shown=world.is_main) as bar:
        for start in range(0, len(left), world.size):
            tester.guard.check_stop()
            own = left[start : start + world.size][world.rank : world.rank + 1]
            found = attack([records[number] for number in own])
            parts = world.gather_to_main(dict(zip(map(str, own), map(_to_plain, found), strict=True)))
            for part in parts:
                done |= part
                bar.update(len(part))
            if world.is_main:
                tester.guard.write(partial(write_json, file, done))
    done = world.broadcast(done if world.is_main else None)
    return [_from_plain(done[str(number)]) for number in range(len(records))]


def _attack_shown(
    tester: Tester, attack: Attack, attacked: AttackedDetector
) -> tuple[list[ImageRecord], list[Tensor], list[Detections]]:
    """Return the first images of a gallery after the smallest change that loses an object, and the detections on them.

    Images on which nothing is lost are left out. With several processes the main one returns them all, the others none.

    Returns:
        Their records; the changed images, rounded to uint8 [3, H, W]; the detections in pixels of the records, on the
        changed images before they were rounded.
    """
    world, test = tester.world, tester.data.test
    records = [test[index] for index in choose(len(test), tester.config.images_logged).shown[:MOST_SHOWN]]
    found = {}
    for number in range(world.rank, len(records), world.size):
        tester.guard.check_stop()
        (result,) = attack([records[number]])
        if result.smallest is not None and result.smallest.image is not None:
            found[number] = _shown(attacked, records[number], result.smallest.image)
    merged = {number: one for part in world.gather_to_main(found) for number, one in part.items()}
    shown = sorted(merged)
    return [records[i] for i in shown], [merged[i][0] for i in shown], [merged[i][1] for i in shown]


@torch.no_grad()
def _shown(attacked: AttackedDetector, record: ImageRecord, image: Tensor) -> tuple[Tensor, Detections]:
    """Return an image of the network's input, rounded, and the detections on it in pixels of the record."""
    size = image.shape[1], image.shape[2]
    logits, offsets = attacked.outputs(image[None])
    detections = attacked.detections(logits[0], offsets[0], size).in_pixels_of(record, size)
    return image.round().to(torch.uint8).cpu(), detections


def _to_plain(result: DeepFoolResult) -> dict[str, Any]:
    """Return a result for JSON, with a flag in place of each image."""

    def plain(one: Perturbation) -> dict[str, Any]:
        return {**asdict(replace(one, image=None)), "image": one.image is not None}

    everything = plain(result.everything) if result.everything is not None else None
    return {"size": result.size, "objects": [plain(one) for one in result.objects], "everything": everything}


def _from_plain(kept: dict[str, Any]) -> DeepFoolResult:
    """Return a result from :func:`_to_plain`'s, with empty images."""

    def perturbation(one: dict[str, Any]) -> Perturbation:
        values: dict[str, Any] = {key: math.nan if value is None else value for key, value in one.items()}  # as in JSON
        return Perturbation(**values | {"image": torch.empty(0) if one["image"] else None})

    everything = perturbation(kept["everything"]) if kept["everything"] is not None else None
    return DeepFoolResult(tuple(kept["size"]), [perturbation(one) for one in kept["objects"]], everything)
