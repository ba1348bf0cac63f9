"""Testing a detector."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader

from src import losses
from src.config.registry import LOSSES
from src.data.loading import InferenceBatch
from src.data.records import ImageRecord
from src.data.transforms import View
from src.detectors.detections import Detections
from src.detectors.detector import Detector
from src.detectors.inference import image_outputs, merge_views, mirror, predict
from src.detectors.postprocess import ImageOutputs
from src.evaluation.anchor_scores import anchor_scores
from src.evaluation.coco_metrics import evaluate_detections
from src.runs.attempt import RunGuard
from src.training.data import Data
from src.utils.distributed import World
from src.utils.progress import progress_bar

NO_LIMIT = 2**31  # of the detections of one of several views


@dataclass(frozen=True)
class Tester:
    """Tests a detector as it is, with all processes."""

    detector: Detector
    network: nn.Module
    data: Data
    config: DictConfig
    world: World
    guard: RunGuard
    shows_progress: bool = False

    def outputs(self, records: list[ImageRecord], view: View, shared: bool) -> Iterator[ImageOutputs]:
        """Yield the detector's outputs on a view of images; raise Interrupted when a signal asks to stop."""
        softmax = LOSSES[self.config.loss.name].background_output
        activation = losses.softmax_scores if softmax else torch.sigmoid
        batches = self._until_stopped(self.data.inference_batches(records, view, shared))
        device = next(self.network.parameters()).device
        return image_outputs(self.network, self.detector, batches, device, activation)

    def _until_stopped(self, batches: DataLoader[InferenceBatch]) -> Iterator[InferenceBatch]:
        for batch in progress_bar(batches, "test") if self.shows_progress else batches:
            self.guard.check_stop()
            yield batch

    def _by_view(self, records: list[ImageRecord], shared: bool) -> list[dict[int, Detections]]:
        """Return the detections of each view by the index of the image; with `shared` those of this process's part."""
        views, detect = self.data.views, self.detector.detect
        if len(views) > 1:
            detect = partial(detect, max_detections=NO_LIMIT)
        by_view = []
        for view in views:
            detections = predict(self.outputs(records, view, shared), records, detect)
            if view.mirrored:
                detections = {index: mirror(one, records[index].width) for index, one in detections.items()}
            by_view.append(detections)
        return by_view

    def _merged(self, by_view: list[dict[int, Detections]]) -> list[Detections]:
        """Return the detections on each image, in the order of the images."""
        model = self.config.model
        if len(by_view) > 1:
            by_view = [merge_views(by_view, nms_iou=model.nms_iou, max_detections=model.max_detections)]
        return [by_view[0][index] for index in range(len(by_view[0]))]

    def all_detections(self) -> list[Detections]:
        """Return the detections on the test images, found by all processes, on the main one; else nothing."""
        parts = self.world.gather_to_main(self._by_view(self.data.test, shared=True))
        if not self.world.is_main:
            return []
        by_view = [{k: v for one in of_view for k, v in one.items()} for of_view in zip(*parts, strict=True)]
        return self._merged(by_view)

    def evaluate(self) -> dict[str, float]:
        """Return the metrics on the test images, on all processes."""
        detections, metrics = self.all_detections(), None
        if self.world.is_main:
            most = self.config.model.max_detections
            metrics = evaluate_detections(self.data.test, detections, self.data.classes, max_detections=most)
        return self.world.broadcast(metrics)

    def count_anchor_scores(self) -> Tensor | None:
        """Count the anchors of the test images' first view by IoU and score, on the main process; else None."""
        counts = anchor_scores(self.outputs(self.data.test, self.data.views[0], shared=True), self.data.test)
        parts = self.world.gather_to_main(counts)
        return sum(parts) if self.world.is_main else None

    def detections(self, records: list[ImageRecord]) -> list[Detections]:
        """Return the detections on these images, found by this process alone."""
        return self._merged(self._by_view(records, shared=False))
