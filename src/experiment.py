"""Building a detector, training it, testing it and logging it, as one configuration says."""

import functools
import logging
import time
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from src import losses
from src.anchor_scores import anchor_scores
from src.config import knobs, loss_function
from src.data import claim_data, read_data
from src.data.loading import TrainingSet, inference_batches, training_batches
from src.data.transforms import inference_transform, training_transform
from src.detectors.inference import image_outputs, predict
from src.detectors.retinanet import RetinaNet
from src.distributed import Processes, over_processes, synchronise_batch_norms
from src.drawing import draw_detections, spread
from src.evaluate import COCO_METRICS, evaluate_detections
from src.files import write_atomically, write_json
from src.lifecycle import Hold
from src.tracking import Tracker, environment
from src.train import build_trainer, choose_device, train

logger = logging.getLogger(__name__)


def train_and_test(config: DictConfig, directory: Path, name: str, processes: Processes, hold: Hold) -> None:
    """The run itself, from a resolved configuration; goes on from a checkpoint if there is one."""
    begun = time.time()
    data, schedule = config.dataset, config.schedule
    train_records, test_records, classes = _read(config)
    train_set = TrainingSet(train_records, training_transform(data.train_size, data.augmentation))
    resize = inference_transform(data.train_size, data.test_shorter_side, data.test_longer_side)
    mine = {"part": processes.rank, "parts": processes.size}
    batches = functools.partial(
        training_batches, train_set, config.batch_size, config.seed, workers=config.workers, **mine
    )

    torch.manual_seed(config.seed)
    device = choose_device(config.device)
    softmax = config.loss.name == "ohem"  # which has an output for the background, too
    scores = losses.softmax_scores if softmax else torch.sigmoid
    outputs = len(classes) + int(softmax)
    detector = RetinaNet(outputs, config.model.backbone, config.model.weights, config.model.channels)
    if processes.size > 1:
        detector = synchronise_batch_norms(detector, device)
    detector.to(device, memory_format=torch.channels_last)
    function, arguments = loss_function(config)
    alone = "ranking" in knobs(config) and config.ranking == "per_process"
    loss = over_processes(functools.partial(getattr(losses, function), **arguments), processes, alone)
    trainer = build_trainer(
        detector, loss, schedule.epochs * len(batches(epoch=0)), device, len(classes), config.model.anchor_scale,
        config.batch_size, config.precision, config.loss.name == "ap", processes,
        **{key: value for key, value in schedule.items() if key not in ("epochs", "evaluate_every")},
    )  # fmt: skip

    def outputs_for(records, **part):
        loader = inference_batches(records, resize, config.batch_size, config.workers, **part)
        interruptible = (hold.check() or batch for batch in loader)
        return image_outputs(detector, interruptible, device, config.model.anchor_scale, scores)

    def evaluate():
        found = predict(outputs_for(test_records, **mine), test_records, config.model.score_threshold)
        parts = processes.gather(found)
        found = {index: detections for part in parts for index, detections in part.items()}
        metrics = None
        if processes.first:
            metrics = evaluate_detections(test_records, [found[i] for i in range(len(test_records))], classes)
        return processes.share(metrics)

    facts = {"run_id": directory.name, "environment": environment(device)}
    if processes.first:
        facts["data"] = claim_data(directory, data.root, train_records, test_records, classes)
        write_atomically(directory / "config.yaml", lambda file: OmegaConf.save(config, file))
    logged = config.wandb if processes.first else {**config.wandb, "mode": "disabled"}
    with Tracker(directory, name, {**OmegaConf.to_container(config), **facts}, **logged) as tracker:
        metrics = train(
            trainer, batches, schedule.epochs, evaluate, schedule.evaluate_every, directory / "checkpoint.pt",
            config.checkpoint_minutes, tracker, hold, name,
        )  # fmt: skip
        by_iou = processes.gather(anchor_scores(outputs_for(test_records, **mine), test_records))
        if processes.first:
            tracker.log({"anchor_scores": sum(by_iou).tolist()})
        sample = spread(test_records, config.images_logged)
        if sample and processes.first:
            found = predict(outputs_for(sample), sample, config.model.score_threshold)
            figure = draw_detections(sample, [found[i] for i in range(len(sample))], classes)
            write_atomically(directory / "detections.png", lambda file: figure.savefig(file, format="png"))
            tracker.log_image("detections", directory / "detections.png")
    if processes.first:
        hold.check_claim()
        report = {"name": name, "metrics": metrics, **facts, "seconds": time.time() - begun}
        write_json(directory / "summary.json", report)
        headline = ", ".join(f"{key} {metrics[key]:.1f}" for key in COCO_METRICS[:3])
        logger.info("%s on %s of %s (%s). Pictures, log, weights: %s", headline, data.test, data.name, name, directory)


def check_data(config: DictConfig, directory: Path) -> None:
    """Raises a UserError if the data that the configuration names are not those that a run's folder was made with."""
    claim_data(directory, config.dataset.root, *_read(config))


def _read(config: DictConfig):
    data = config.dataset
    return read_data(data.format, data.root, data.train, data.test, data.classes)
