"""One run: build the detector, train it, test it, log it. `python -m src.run --help` tells the knobs."""

import functools
import logging
import time
from pathlib import Path

import hydra
import torch
import wandb
from omegaconf import DictConfig, OmegaConf

from src import losses
from src.checkpoint import write_atomically
from src.config import describe, loss_function, register, resolve, run_id
from src.data import claim_data, read_data
from src.data.loading import TrainingSet, inference_batches, training_batches
from src.data.transforms import inference_transform, training_transform
from src.detectors.inference import predict
from src.detectors.retinanet import RetinaNet
from src.drawing import draw_detections, spread
from src.errors import UserError
from src.evaluate import COCO_METRICS, evaluate_detections
from src.tracking import Tracker, environment, read_summary, write_json
from src.train import build_trainer, choose_device, train

logger = logging.getLogger(__name__)
register()


def run(config: DictConfig) -> Path:
    """Trains and tests what the configuration says, unless that has been done, and returns the run's folder."""
    config = resolve(config)
    identity, name = run_id(config), describe(config)
    directory = Path(config.outputs, identity)
    data, schedule = config.dataset, config.schedule
    summary = read_summary(directory)
    if summary is not None and summary["data"]["root"] == data.root:
        logger.info("%s is finished: %s", name, directory)
        return directory
    begun = time.time()
    directory.mkdir(parents=True, exist_ok=True)

    train_records, test_records, classes = read_data(data.format, data.root, data.train, data.test, data.classes)
    facts = {"data": claim_data(directory, data.root, train_records, test_records, classes)}
    if summary is not None:
        logger.info("%s is finished, on the same data at %s: %s", name, summary["data"]["root"], directory)
        return directory
    train_set = TrainingSet(train_records, training_transform(data.train_size, data.augmentation))
    resize = inference_transform(data.train_size, data.test_shorter_side, data.test_longer_side)
    batches = functools.partial(training_batches, train_set, config.batch_size, config.seed, workers=config.workers)

    torch.manual_seed(config.seed)
    device = choose_device(config.device)
    softmax = config.loss.name == "ohem"  # which has an output for the background, too
    scores = losses.softmax_scores if softmax else torch.sigmoid
    outputs = len(classes) + int(softmax)
    detector = RetinaNet(outputs, config.model.backbone, config.model.weights, config.model.channels)
    detector.to(device, memory_format=torch.channels_last)
    function, arguments = loss_function(config)
    loss = functools.partial(getattr(losses, function), **arguments)
    trainer = build_trainer(
        detector, loss, schedule.epochs * len(batches(epoch=0)), device, len(classes), config.model.anchor_scale,
        config.batch_size, config.precision, config.loss.name == "ap",
        **{key: value for key, value in schedule.items() if key not in ("epochs", "evaluate_every")},
    )  # fmt: skip

    def test(records):
        loader = inference_batches(records, resize, config.batch_size, config.workers)
        thresholds = config.model.anchor_scale, config.model.score_threshold
        return predict(detector, loader, records, device, *thresholds, scores)

    def evaluate():
        return evaluate_detections(test_records, test(test_records), classes)

    write_atomically(directory / "config.yaml", lambda file: OmegaConf.save(config, file))
    facts |= {"run_id": identity, "environment": environment(device)}
    with Tracker(directory, name, {**OmegaConf.to_container(config), **facts}, **config.wandb) as tracker:
        metrics = train(
            trainer, batches, schedule.epochs, evaluate, schedule.evaluate_every, directory / "checkpoint.pt", tracker,
            name,
        )  # fmt: skip
        sample = spread(test_records, config.images_logged)
        if sample:
            figure = draw_detections(sample, test(sample), classes)
            write_atomically(directory / "detections.png", lambda file: figure.savefig(file, format="png"))
            tracker.log({"detections": wandb.Image(str(directory / "detections.png"))})
    write_json(directory / "summary.json", {"name": name, "metrics": metrics, **facts, "seconds": time.time() - begun})
    headline = ", ".join(f"{key} {metrics[key]:.1f}" for key in COCO_METRICS[:3])
    logger.info("%s on %s of %s (%s). Pictures, log and weights: %s", headline, data.test, data.name, name, directory)
    return directory


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(config: DictConfig) -> None:
    try:
        run(config)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
