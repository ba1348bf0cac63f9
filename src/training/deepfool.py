"""Testing a detector by DeepFool: how little a test image must change before an object is lost."""

import math
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from src.config.registry import LOSSES
from src.data.run_data import read_noted
from src.data.transforms import inference_resize
from src.evaluation.f1 import best_f1
from src.robustness.attacked_detector import AttackedDetector
from src.robustness.deepfool import DeepFoolResult, Perturbation
from src.robustness.deepfool_images import choose_images, deepfool_images, summarise
from src.training.run_log import RunLog
from src.training.tester import Tester
from src.utils.errors import UserError
from src.utils.files import write_json
from src.utils.progress import refresh_interval


def deepfool_and_log(tester: Tester, log: RunLog) -> dict[str, float]:
    """Log and return the least changes of test images after which objects are lost, with all processes.

    An object counts as detected at the score threshold at which the detector's F1 on the clean test images is highest:
    what a score means depends on the loss. `minimal_perturbation` is the mean over images of the least L2 norm, in grey
    levels at the network's input. Results are kept image by image, so that an interrupted run goes on with the next.
    """
    world, data = tester.world, tester.data
    detections = tester.all_detections()
    threshold, f1 = world.on_main(lambda _: best_f1(data.test, detections, data.classes))
    if math.isnan(threshold):
        raise UserError(
            f"none of the detections on {len(data.test)} test images is right, so that no score threshold can be "
            "chosen: the detector needs more training"
        )
    results = _attack_each(tester, log.directory / "deepfool.json", threshold)
    summary = summarise(results)
    metrics = {"minimal_perturbation": summary["l2"], "score_threshold": threshold, "f1": f1}
    metrics |= {f"deepfool/{key}": value for key, value in summary.items()}
    log.tracker.log(metrics)
    return metrics


def _attack_each(tester: Tester, file: Path, threshold: float) -> list[DeepFoolResult]:
    """Return the result for each chosen image; those that a file has are taken from there.

    Args:
        file: where results are kept, in the run's folder.
        threshold: of the scores.
    """
    config, world, data = tester.config, tester.world, tester.data
    options, dataset = config.attack, config.dataset
    attacked = AttackedDetector(tester.detector, tester.network, LOSSES[config.loss.name].background_output)
    records = choose_images(data.test, options.images, config.seed)
    resize = inference_resize(dataset.train_size, dataset.test_shorter_side, dataset.test_longer_side)
    done: dict[str, Any] = world.broadcast((read_noted(file) or {}) if world.is_main else None)
    left = [number for number in range(len(records)) if str(number) not in done]
    interval = refresh_interval()
    with tqdm(
        total=len(records), initial=len(done), desc="DeepFool", mininterval=interval, disable=not world.is_main
    ) as bar:
        for start in range(0, len(left), world.size):
            tester.guard.check_stop()
            own = left[start : start + world.size][world.rank : world.rank + 1]
            images = [records[number] for number in own]
            found = deepfool_images(
                attacked,
                images,
                resize,
                threshold=threshold,
                iterations=options.iterations,
                overshoot=options.overshoot,
            )
            parts = world.gather_to_main(dict(zip(map(str, own), map(_to_plain, found), strict=True)))
            for part in parts:
                done |= part
                bar.update(len(part))
            if world.is_main:
                tester.guard.write(partial(write_json, file, done))
    done = world.broadcast(done if world.is_main else None)
    return [_from_plain(done[str(number)]) for number in range(len(records))]


def _to_plain(result: DeepFoolResult) -> dict[str, Any]:
    """Return a result without its images, of which it is kept whether there is one."""

    def plain(one: Perturbation) -> dict[str, Any]:
        return {**asdict(replace(one, image=None)), "image": one.image is not None}

    everything = plain(result.everything) if result.everything is not None else None
    return {"size": result.size, "objects": [plain(one) for one in result.objects], "everything": everything}


def _from_plain(kept: dict[str, Any]) -> DeepFoolResult:
    """Return a result as :func:`_to_plain` has kept it, with empty images."""

    def perturbation(one: dict[str, Any]) -> Perturbation:
        values: dict[str, Any] = {key: math.nan if value is None else value for key, value in one.items()}  # as in JSON
        return Perturbation(**values | {"image": torch.empty(0) if one["image"] else None})

    everything = perturbation(kept["everything"]) if kept["everything"] is not None else None
    return DeepFoolResult(tuple(kept["size"]), [perturbation(one) for one in kept["objects"]], everything)
