"""Testing a detector."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
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
from src.evaluation.anchor_scores import BINS, add_anchor_scores
from src.evaluation.coco_metrics import evaluate_detections
from src.runs.attempt import RunGuard
from src.training.data import Data
from src.training.gallery import choose
from src.utils.distributed import World
from src.utils.progress import progress_bar

NO_LIMIT = 2**31  # for the detections of one of several views


@dataclass(frozen=True)
class LastTest:
    """What is kept of a test for logging, so that no image has to go through the network again."""

    anchor_scores: Tensor  # of this process's part of the test images, in the first view: see `add_anchor_scores`
    detections: Mapping[int, Detections]  # on the images of `choose`, by index, on the main process


@dataclass
class Tester:
    """Tests a detector in its current state, with all processes."""

    detector: Detector
    network: nn.Module
    data: Data
    config: DictConfig
    world: World
    guard: RunGuard
    shows_progress: bool = False
    last_test: LastTest | None = field(default=None, init=False)  # of the network in its state at that time

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

    def _by_view(
        self, records: list[ImageRecord], shared: bool, anchors: Tensor | None = None
    ) -> list[dict[int, Detections]]:
        """Return the detections of each view by image index; with `shared`, only for this process's part.

        Args:
            anchors: int64 [50, 50], counts to which the anchors' scores in the first view are added.
        """
        views, detect = self.data.views, self.detector.detect
        if len(views) > 1:
            detect = partial(detect, max_detections=NO_LIMIT)
        by_view = []
        for number, view in enumerate(views):
            outputs = self.outputs(records, view, shared)
            if number == 0 and anchors is not None:
                outputs = add_anchor_scores(outputs, records, anchors)
            detections = predict(outputs, records, detect)
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
        """Return the detections on the test images, found by all processes; an empty list except on the main one."""
        counts = torch.zeros(BINS, BINS, dtype=torch.int64)
        parts = self.world.gather_to_main(self._by_view(self.data.test, shared=True, anchors=counts))
        by_view = [{k: v for one in of_view for k, v in one.items()} for of_view in zip(*parts, strict=True)]
        detections = self._merged(by_view) if self.world.is_main else []
        choice = choose(len(detections), self.config.images_logged)
        self.last_test = LastTest(counts, {i: detections[i] for i in (*choice.shown, *choice.others)})
        return detections

    def evaluate(self) -> dict[str, float]:
        """Return the metrics on the test images, on all processes."""
        detections, metrics = self.all_detections(), None
        if self.world.is_main:
            most = self.config.model.max_detections
            metrics = evaluate_detections(self.data.test, detections, self.data.classes, max_detections=most)
        return self.world.broadcast(metrics)

    def detections(self, records: list[ImageRecord]) -> list[Detections]:
        """Return the detections on these images, found by this process alone."""
        return self._merged(self._by_view(records, shared=False))
