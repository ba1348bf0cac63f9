"""One run: build the detector, train it, test it, log it. `python -m src.run --help` tells the knobs."""

import functools
import logging
import time
from pathlib import Path

import hydra
import torch
import wandb
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from src import losses
from src.checkpoint import load_checkpoint, save_checkpoint, write_atomically
from src.config import describe, loss_arguments, register, resolve, run_id
from src.data import fingerprint, read_data
from src.data.loading import TrainingSet, test_batches, training_batches
from src.data.transforms import test_transform, training_transform
from src.detectors.inference import predict
from src.detectors.retinanet import RetinaNet
from src.drawing import draw_detections
from src.evaluate import COCO_METRICS, evaluate_detections
from src.tracking import Tracker, environment, finished, write_json
from src.train import build_trainer, choose_device

logger = logging.getLogger(__name__)
register()


def run(config: DictConfig) -> Path:
    """Trains and tests what the configuration says, unless that has been done, and returns the run's folder."""
    config = resolve(config)
    identity = run_id(config)
    directory = Path(config.outputs, identity)
    if finished(directory, config.dataset.root):
        logger.info("run %s (%s) is finished: %s", identity, describe(config), directory)
        return directory
    data, schedule = config.dataset, config.schedule
    begun = time.time()

    train_records, test_records, classes = read_data(data.format, data.root, data.train, data.test, data.classes)
    train_set = TrainingSet(train_records, training_transform(data.train_size, data.augmentation))
    resize = test_transform(data.test_shorter_side, data.test_longer_side)
    batches = functools.partial(training_batches, train_set, config.batch_size, config.seed, workers=config.workers)
    steps = schedule.epochs * len(batches(epoch=0))

    torch.manual_seed(config.seed)
    device = choose_device(config.device)
    model = RetinaNet(len(classes), config.model.backbone, config.model.weights, config.model.channels).to(device)
    loss = functools.partial(getattr(losses, f"{config.loss.name}_loss"), **loss_arguments(config))
    trainer = build_trainer(
        model, loss, steps, device, len(classes), config.model.anchor_scale, config.batch_size, config.precision,
        **{key: value for key, value in schedule.items() if key not in ("epochs", "evaluate_every")},
    )

    def test(records):
        loader = test_batches(records, resize, config.batch_size, config.workers)
        return predict(model, loader, records, device, config.model.anchor_scale, config.model.score_threshold)

    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / "config.yaml", lambda file: OmegaConf.save(config, file))
    facts = {"data": {"train": len(train_records), "test": len(test_records), "classes": classes}}
    facts |= {"run_id": identity, "environment": environment(device)}
    facts["data"]["fingerprint"] = fingerprint(train_records + test_records)
    checkpoint = directory / "checkpoint.pt"
    progress = {"epoch": 0, "step": 0, "metrics": {}, "fingerprint": facts["data"]["fingerprint"]}
    progress = load_checkpoint(checkpoint, trainer.parts(), expected={"fingerprint": progress["fingerprint"]}) or progress

    with Tracker(identity, directory, describe(config), {**OmegaConf.to_container(config), **facts}, **config.wandb) as tracker:
        if progress["metrics"]:
            tracker.log(progress["metrics"], progress["step"])  # in case the log lost its last lines
        bar = tqdm(total=steps, initial=progress["step"], desc=describe(config), unit="step", smoothing=0.05)
        for epoch in range(progress["epoch"], schedule.epochs):
            for values in trainer.epoch(batches(epoch=epoch), progress["step"]):
                progress["step"] += 1
                tracker.log({**values, "epoch": epoch}, progress["step"])
                bar.update()
                bar.set_postfix(loss=f"{values['loss']:.3f}", AP=progress["metrics"].get("AP", "–"))
            progress["epoch"] = epoch + 1
            if progress["epoch"] % schedule.evaluate_every == 0 or progress["epoch"] == schedule.epochs:
                progress["metrics"] = evaluate_detections(test_records, test(test_records), classes)
                tracker.log(progress["metrics"], progress["step"])
            save_checkpoint(checkpoint, trainer.parts(), progress)
        bar.close()
        sample = test_records[:: max(len(test_records) // max(config.images_logged, 1), 1)][: config.images_logged]
        if sample:
            figure = draw_detections(sample, test(sample), classes)
            write_atomically(directory / "detections.png", lambda file: figure.savefig(file, format="png"))
            tracker.log({"detections": wandb.Image(str(directory / "detections.png"))}, progress["step"])
    summary = {key: progress[key] for key in ("epoch", "step", "metrics")} | facts | {"seconds": time.time() - begun}
    write_json(directory / "summary.json", {"name": describe(config), **summary})
    headline = ", ".join(f"{key} {progress['metrics'][key]:.1f}" for key in COCO_METRICS[:3])
    logger.info("%s on the test split %s of %s. Everything is in %s", headline, data.test, data.name, directory)
    return directory


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(config: DictConfig) -> None:
    run(config)


if __name__ == "__main__":
    main()
