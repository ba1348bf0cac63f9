"""Test a finished run's detector on other images, or with other options, without training."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from yaml import YAMLError

from src.config.command import refuse_rewritten
from src.config.needs import read_configuration
from src.config.plain import to_plain
from src.config.schema import Dataset, Test, model_schema
from src.config.validate import check_values, refuse_attack
from src.data.loading import interrupted_with_loaders
from src.data.records import ImageRecord
from src.detectors.detections import Detections
from src.detectors.detector import build_detector
from src.runs.attempt import RunGuard
from src.runs.state import read_run
from src.training.checkpoint import load_weights
from src.training.data import build_test_data
from src.training.experiment import build_network
from src.training.tester import Tester
from src.utils.device import choose_device
from src.utils.distributed import World
from src.utils.errors import UserError
from src.utils.signals import Interruption

# The options that may differ from the run's own, as they do not change its weights.
CHANGEABLE = (
    *(f"dataset.{key}" for key in ("root", "test", "format", "test_shorter_side", "test_longer_side")),
    *("test.scales", "test.mirror"),
    *(f"model.{key}" for key in ("score_threshold", "nms_iou", "max_detections")),
    *("model.candidates_per_level", "model.candidates_per_class"),
    *("batch_size", "device", "workers"),
)


@dataclass
class _Options:
    """The options of a test, with their types."""

    model: Any = MISSING
    dataset: Dataset = field(default_factory=Dataset)
    test: Test = field(default_factory=Test)
    batch_size: int = MISSING
    device: str = MISSING
    workers: int = MISSING


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, with the options of its test."""

    directory: Path
    config: DictConfig
    classes: list[str]  # those that its detector was trained for


def read_finished_run(directory: Path, changes: Sequence[str] = ()) -> FinishedRun:
    """Read the configuration of a finished run, with changes such as "test.scales=[400,500]".

    Raises:
        UserError: the run has not finished, or has trained no detector; its files are damaged; or a change is not one
            of `CHANGEABLE`, or has an impossible value.
    """
    found = read_run(directory)
    if found.summary is None:
        reason = f" ({found.reason})" if found.reason else ""
        raise UserError(f"{directory} is {found.state}{reason}; finish the run first, with its own command")
    file = directory / "config.yaml"
    try:
        config = DictConfig(read_configuration(file))
        classes = list(found.summary["data"]["classes"])
    except FileNotFoundError:
        raise UserError(f"{file} is gone, which holds the options of the run") from None
    except (KeyError, TypeError):
        raise UserError(f"{directory / 'summary.json'} does not name the classes of the run's data") from None
    refuse_attack(config, str(directory))
    return FinishedRun(directory, change_test(config, changes), classes)


def change_test(config: DictConfig, changes: Sequence[str]) -> DictConfig:
    """Return a resolved configuration with other values, "key=value", of keys in `CHANGEABLE`.

    The runs that the run has needed are not looked for: its own weights are all that a test takes.
    """
    words = [word.partition("=") for word in changes]
    for key, equals, _ in words:
        if not equals or key not in CHANGEABLE:
            raise UserError(f"{key}: not an option of a test of a finished run; these are {', '.join(CHANGEABLE)}")
        if OmegaConf.select(config, key, default=MISSING) == MISSING:
            raise UserError(f"{key}: not an option of this run's {config.model.name}")
    options = OmegaConf.structured(_Options)
    options.model = OmegaConf.structured(model_schema(config.model.name))
    options = OmegaConf.merge(options, {key: config[key] for key in options})
    for change in changes:
        try:
            options = OmegaConf.merge(options, OmegaConf.from_dotlist([change]))
        except YAMLError as error:
            raise UserError(f"{change}: not a value that can be read: {' '.join(str(error).split())}") from error
    plain = {**to_plain(config), **to_plain(options), "processes": 1}
    refuse_rewritten(plain, changes)
    check_values(plain)
    return DictConfig(plain)


def detect_on(run: FinishedRun, records: list[ImageRecord]) -> list[Detections]:
    """Return the detections of a finished run's detector on each image, showing a progress bar.

    Raises:
        DataError: an image cannot be read.
        UserError: the run's weights cannot be read.
    """
    config = run.config
    detector = build_detector(config.model, config.dataset.train_size, reads_weights=False)
    network = build_network(config, detector, len(run.classes), choose_device(config.device), World())
    load_weights(run.directory, network)
    data = build_test_data(config, records, run.classes, normalisation=detector.normalisation)
    guard = RunGuard(None, Interruption())
    tester = Tester(detector, network, data, config=config, world=World(), guard=guard, shows_progress=True)
    with interrupted_with_loaders():
        return tester.detections(records)
