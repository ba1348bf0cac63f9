"""Check a run's data before it trains."""

import logging

from omegaconf import DictConfig

from src.config.validate import check_batch_norm
from src.data.records import ImageRecord
from src.detectors.detector import Detector
from src.evaluation.inspection import DetectorView, SplitView, summary, view_split, warnings
from src.utils.errors import UserError
from src.utils.text import counted

logger = logging.getLogger(__name__)


def detector_view(config: DictConfig, detector: Detector, classes: list[str]) -> DetectorView:
    """Return what decides how the detector of a configuration sees boxes."""
    return DetectorView(classes, config.dataset.train_size, detector, config.model.max_detections)


def view_splits(
    config: DictConfig, train: list[ImageRecord], test: list[ImageRecord], view: DetectorView
) -> tuple[SplitView, SplitView]:
    """Return the two splits of a configuration as its detector sees them."""
    return view_split(config.dataset.train, train, view), view_split(config.dataset.test, test, view)


def look_at_data(
    config: DictConfig,
    detector: Detector,
    train: list[ImageRecord],
    test: list[ImageRecord],
    classes: list[str],
    *,
    log: bool,
) -> None:
    """Check that a run can train and test on its data; log a summary in three lines, and warnings.

    Args:
        config: resolved.
        detector: of the configuration.
        train: the images to train on.
        test: the images to test on.
        classes: the names of the classes.
        log: whether to log anything; only one of several processes does.

    Raises:
        UserError: the test images have no objects, or a batch is too small.
    """
    view = detector_view(config, detector, classes)
    splits = view_splits(config, train, test, view)
    lines = warnings(*splits, view) + check_batch(config, len(train))
    if log:
        for line in summary(*splits, view):
            logger.info("%s", line)
        for line in lines:
            logger.warning("warning: %s", line)


def check_batch(config: DictConfig, images: int) -> list[str]:
    """Return a warning if a batch is larger than the training split, else nothing.

    Raises:
        UserError: such a batch cannot be trained on.
    """
    if images < config.processes:
        raise UserError(f"processes={config.processes}, but only {counted(images, 'training image')}; take fewer")
    check_batch_norm(config, min(config.batch_size, images))
    if images >= config.batch_size:
        return []
    return [
        f"batch_size={config.batch_size}, but only {counted(images, 'training image')}: each step takes all there are, "
        f"at the learning rate of {config.batch_size}"
    ]
