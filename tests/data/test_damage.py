"""Damaged folders are read to what their files mean, or refused with the path of the damaged file, within a second.

What is dropped is logged with its count and the file's name.
"""

import functools
import gc
import logging
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig
from PIL import Image

from src.config.validate import resolve
from src.data.datasets import read_data
from src.data.images import examine_image, read_image
from src.data.records import ImageRecord
from src.detectors.detector import build_detector
from src.training.data_check import look_at_data
from src.utils.errors import UserError
from tests.data.damage.folders import ALL, KINDS, Dice, Folder, Outcome, make_folder, reads
from tests.support.configurations import make_config
from tests.support.exhaustive import EXHAUSTIVE
from tests.support.layouts import Picture

FOLDERS_OF_A_KIND = 30 if EXHAUSTIVE else 3
PAIRS = 1500 if EXHAUSTIVE else 60
SECONDS = 1.0  # of the processor, for a folder
LONGEST = 1500  # characters of a message

COMMON = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)
some_folders = settings(COMMON, max_examples=FOLDERS_OF_A_KIND)


@pytest.fixture(scope="module", autouse=True)
def imports() -> None:
    """Import what is imported on first use, and compose the configuration, before a folder's time is measured."""
    Image.init()
    configuration()


def test_there_are_over_300_damaged_folders_of_over_40_kinds():
    assert len(KINDS) > 40 and all(damage.layouts for damage in KINDS.values())
    assert len(KINDS) * FOLDERS_OF_A_KIND + PAIRS > 300


@pytest.mark.parametrize("layout", ALL)
@some_folders
@given(data=st.data())
def test_good_folders_are_read_without_a_warning(layout, data):
    with good_folder(layout, Dice(data.draw)) as folder:
        check(folder, [reads()], quiet=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
@some_folders
@given(data=st.data())
def test_one_damage(name, data):
    dice = Dice(data.draw)
    damage = KINDS[name]
    with good_folder(dice.pick(damage.layouts), dice) as folder:
        check(folder, [damage.damage(folder, dice)])


@settings(COMMON, max_examples=PAIRS)
@given(data=st.data())
@pytest.mark.slow
def test_two_damages(data):
    dice = Dice(data.draw)
    layout = dice.pick(ALL)
    names = [name for name, damage in KINDS.items() if layout in damage.layouts]
    chosen = data.draw(st.lists(st.sampled_from(names), min_size=2, max_size=2, unique=True), label="kinds")
    with good_folder(layout, dice) as folder:
        damages = sorted((KINDS[name] for name in chosen), key=lambda damage: damage.stage)
        check(folder, [damage.damage(folder, dice) for damage in damages])


@contextmanager
def good_folder(layout: str, dice: Dice) -> Iterator[Folder]:
    with tempfile.TemporaryDirectory() as root:
        yield make_folder(Path(root) / "data", layout, dice)


def check(folder: Folder, outcomes: list[Outcome], quiet: bool = False) -> None:
    """Assert that one of the outcomes that allow it is a refusal, or else that the folder is read to the truth."""
    names = [name for outcome in outcomes for name in outcome.names]
    with logged_lines() as lines, time_limit():
        try:
            train, test, classes = read(folder)
        except UserError as error:
            message = str(error)
            assert names, f"refused: {message}"
            assert any(name in message for name in names), f"{names} not in {message}"
            assert message.isprintable() and len(message) < LONGEST, repr(message)
            return
    assert all(outcome.may_be_read for outcome in outcomes), f"read, instead of a refusal that names {names}"
    assert classes == folder.classes
    assert_same(train, folder.expected("train"), classes)
    assert_same(test, folder.expected("test"), classes)
    wanted = [parts for outcome in outcomes for parts in outcome.logged]
    left_out = [picture.name for picture in folder.splits["train"] if picture not in folder.expected("train")]
    if left_out:
        wanted.append((f"{len(left_out)} of {len(folder.splits['train'])} training images", *left_out))
    for parts in wanted:
        patterns = list(map(re.escape, parts))
        if len(outcomes) > 1:  # which may be counted together
            patterns = [re.sub(r"\d+", r"\\d+", pattern) for pattern in patterns]
        assert any(all(re.search(p, line) for p in patterns) for line in lines), f"{parts} not logged in {lines}"
    if quiet:
        warnings = [line for line in lines if line.startswith("WARNING src.data")]
        assert len(warnings) == 2 * (folder.layout == "roboflow"), warnings  # its category that is no class


@contextmanager
def time_limit() -> Iterator[None]:
    """Assert that a block takes less than `SECONDS` of the processor, without what is garbage from elsewhere."""
    gc.disable()
    start = time.process_time()
    try:
        yield
        assert time.process_time() - start < SECONDS
    finally:
        gc.enable()


@functools.cache
def configuration() -> DictConfig:
    return resolve(make_config("recipe=folder", "dataset.root=.", "dataset.train_size=64"))


def read(folder: Folder) -> tuple[list[ImageRecord], list[ImageRecord], list[str]]:
    """Read a folder as a run does before it trains."""
    train, test, classes = read_data(
        "auto", str(folder.root), train="train", test="test", classes=folder.classes if folder.given_classes else None
    )
    for record in [*train, *test]:
        for oddity in examine_image(record):
            logging.getLogger("src.data").warning("%s %s", record.path, oddity)
    config = configuration()
    detector = build_detector(config.model, config.dataset.train_size)
    look_at_data(config, detector, train, test, classes, log=True)
    return train, test, classes


def assert_same(records: list[ImageRecord], pictures: list[Picture], classes: list[str]) -> None:
    """Assert that records are those of pictures, to the bit."""
    assert [record.path.name for record in records] == [picture.name for picture in pictures]
    assert len({record.image_id for record in records}) == len(records)
    for record, picture in zip(records, pictures, strict=True):
        assert (record.width, record.height) == picture.size
        assert [classes[label] for label in record.labels] == [thing.name for thing in picture.things]
        boxes = torch.tensor([thing.box for thing in picture.things], dtype=torch.float32).reshape(-1, 4)
        assert torch.equal(record.boxes, boxes), (record.boxes, boxes)
        assert record.difficult.tolist() == [thing.difficult for thing in picture.things]
        assert record.crowd.tolist() == [thing.crowd for thing in picture.things]
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        given = torch.tensor([float("nan") if t.area is None else t.area for t in picture.things])
        areas = torch.where(given.isnan(), areas, given)
        assert torch.allclose(record.area, areas, rtol=1e-6)
        pixels = torch.as_tensor(picture.pixels).permute(2, 0, 1)
        assert torch.equal(torch.as_tensor(read_image(record)), pixels), picture.name


@contextmanager
def logged_lines() -> Iterator[list[str]]:
    """Collect the lines that the project logs."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(f"{record.levelname} {record.name}: {record.getMessage()}")
    logger = logging.getLogger("src")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
