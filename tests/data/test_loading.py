"""Batches of images and boxes."""

import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import ResNet50_Weights
from torchvision.transforms import v2

from src.data.loading import (
    Share,
    TrainingSet,
    derive_seed,
    inference_batches,
    interrupted_with_loaders,
    training_batches,
)
from src.data.records import DataError, make_record
from src.data.transforms import IMAGENET, inference_transform, padded_size, training_transform
from tests.support.programs import run_python


@pytest.fixture
def records(tmp_path):
    generator = np.random.default_rng(0)
    records = []
    for index, (width, height) in enumerate([(100, 80), (80, 100), (120, 90), (100, 80), (64, 64)]):
        path = tmp_path / f"{index}.jpg"
        Image.fromarray(generator.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(path)
        boxes = [[10, 20, 50, 60], [5, 5, 30, 25]]
        records.append(make_record(str(index), path, (width, height), boxes=boxes, labels=[0, 1]))
    return records


@pytest.mark.parametrize("augmentation", ["ssd", "scale_jitter", "flip"])
def test_batches_do_not_depend_on_workers_and_differ_between_epochs_and_seeds(records, augmentation):
    dataset = TrainingSet(records, training_transform(64, augmentation))

    def images(seed, epoch, workers):
        batches = training_batches(dataset, 2, seed=seed, epochs=range(epoch, epoch + 1), workers=workers)
        return torch.stack([batch.images for batch in batches])

    alone = images(0, 0, 0)
    torch.manual_seed(123)
    assert torch.equal(alone, images(0, 0, 2))
    assert alone.shape == (2, 2, 3, 64, 64)
    assert not torch.equal(alone, images(0, 1, 0)) and not torch.equal(alone, images(1, 0, 0))


@pytest.mark.parametrize("augmentation", ["ssd", "scale_jitter"])
def test_augmented_boxes_stay_inside_and_keep_their_labels(records, augmentation):
    dataset = TrainingSet(records, training_transform(64, augmentation))
    counts = []
    for seed in range(60):
        image, boxes, labels = dataset[seed % 5, seed]
        assert image.shape == (3, 64, 64) and image.dtype == torch.float32
        assert len(boxes) == len(labels) and (boxes >= 0).all() and (boxes <= 64).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        counts.append(len(boxes))
    assert {1, 2} <= set(counts)


def test_warping_moves_boxes_with_the_image(records):
    dataset = TrainingSet(records, training_transform(160, "flip"))
    left = torch.tensor([[16, 40, 80, 120], [8, 10, 48, 50.0]])
    mirrored = left[:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1]) + torch.tensor([160, 0, 160, 0])
    all_boxes = [dataset[0, seed][1] for seed in range(40)]
    counts = [sum(torch.allclose(boxes, expected) for boxes in all_boxes) for expected in (left, mirrored)]
    assert sum(counts) == 40 and min(counts) > 10


def test_scale_jitter_moves_boxes_with_the_image(tmp_path):
    """An object's pixels, brighter than all others, are where its box is, at every scale; or it is not an object."""
    image = np.zeros((80, 120, 3), np.uint8)
    image[20:50, 30:90] = 255
    Image.fromarray(image).save(tmp_path / "a.png")
    record = make_record("a", tmp_path / "a.png", (120, 80), boxes=[[30, 20, 90, 50]], labels=[0])
    dataset = TrainingSet([record], training_transform(128, "scale_jitter"))
    widths, cut = [], 0
    for seed in range(200):
        pixels, boxes, _ = dataset[0, seed]
        bright = pixels.min(0).values > 1
        if len(boxes) == 0:  # at least half of the object is outside
            assert bright.sum() < 0.6 * (60 / 120 / 0.6) * (30 / 80 / 0.6) * 128**2
            continue
        rows, columns = bright.any(1).nonzero().flatten(), bright.any(0).nonzero().flatten()
        found = torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        assert torch.allclose(boxes[0], found.float(), atol=1.5), seed
        widths.append(float(boxes[0, 2] - boxes[0, 0]))
        cut += bool((found[:2] == 0).any() or (found[2:] == 128).any())
    assert min(widths) < 64 / 1.2 and max(widths) > 64 * 1.4 and cut


@pytest.mark.parametrize("augmentation", ["ssd", "scale_jitter"])
def test_the_mean_colour_is_around_a_small_image(tmp_path, augmentation):
    Image.new("RGB", (120, 80), "white").save(tmp_path / "a.png")
    record = make_record("a", tmp_path / "a.png", (120, 80), boxes=[[0, 0, 120, 80]], labels=[0])
    dataset = TrainingSet([record], training_transform(128, augmentation))
    shares = []
    for seed in range(60):
        pixels, boxes, _ = dataset[0, seed]
        around = torch.ones(128, 128, dtype=torch.bool)
        left, top, right, bottom = boxes[0].round().int().tolist()
        around[max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2] = False
        assert (pixels[:, around].abs() < 0.02).all()  # the mean is 0 after normalisation
        shares.append(float(around.float().mean()))
    assert min(shares) == 0 and max(shares) > 0.3
    if augmentation == "ssd":  # half of the images are put into one up to four times as wide and high
        assert 8 / 9 < max(shares) < 15 / 16 and 18 < sum(share > 0 for share in shares) < 42


def test_difficult_and_crowd_boxes_are_not_trained_on(tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    boxes = [[0, 0, 20, 20], [10, 10, 30, 30], [20, 20, 40, 40]]
    record = make_record(
        "a",
        tmp_path / "a.png",
        (40, 40),
        boxes=boxes,
        labels=[0, 1, 2],
        difficult=[False, True, False],
        crowd=[False, False, True],
    )
    _, boxes, labels = TrainingSet([record], training_transform(32, "flip"))[0, 0]
    assert labels.tolist() == [0] and len(boxes) == 1


def test_inference_batches_hold_each_image_once_and_are_independent_of_batch_size(records):
    transform = inference_transform(32, 64, 100)
    by_batch_size = {}
    for batch_size in (1, 4):
        images = {}
        for batch in inference_batches(records, transform, batch_size, workers=0):
            assert batch.images.shape[-2] % 32 == batch.images.shape[-1] % 32 == 0
            for image, size, index in zip(batch.images, batch.sizes, batch.indexes, strict=True):
                assert image.shape[-2:] == padded_size(records[index].height, records[index].width, transform)
                assert image[:, size[0] :].abs().sum() == 0
                images[index] = image
        assert sorted(images) == list(range(5))
        by_batch_size[batch_size] = images
    assert all(torch.equal(by_batch_size[1][i], by_batch_size[4][i]) for i in range(5))
    assert next(iter(inference_batches(records[:1], transform, 1, workers=0))).sizes == [(64, 80)]


def test_an_epoch_has_each_image_once_in_an_order_and_with_seeds_of_its_own(records):
    dataset = TrainingSet(records, training_transform(64, "ssd"))

    def keys(batch_size, seed, epochs):
        return list(training_batches(dataset, batch_size, seed=seed, epochs=epochs, workers=0).batch_sampler)

    each = [[key for batch in keys(1, seed, range(n, n + 1)) for key in batch] for seed in (0, 1) for n in range(3)]
    orders = [[index for index, _ in epoch] for epoch in each]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders) and len(set(map(tuple, orders))) > 3
    assert len({seed for epoch in each for _, seed in epoch}) == 6 * 5  # of augmentation
    assert [len(batch) for batch in keys(2, 0, range(2))] == [2] * 4 and len(*keys(9, 0, range(1))) == 5
    assert keys(2, 0, range(1)) == [each[0][:2], each[0][2:4]]
    assert derive_seed(0, 1, 2) == 1772749440416956875  # another one would change all runs


def test_the_shares_of_all_processes_are_the_batches(records):
    dataset = TrainingSet(records, training_transform(64, "ssd"))

    def batches(share):
        return [
            batch.images for batch in training_batches(dataset, 4, seed=0, epochs=range(1, 2), workers=0, share=share)
        ]

    shares = [batches(Share(part, 2)) for part in range(2)]
    assert [len(share[0]) for share in shares] == [2, 2]
    assert torch.equal(torch.cat([share[0] for share in shares]), batches(Share())[0])

    transform = inference_transform(32, 64, 100)
    indexes = [
        index
        for part in range(3)
        for batch in inference_batches(records, transform, 1, workers=0, share=Share(part, 3))
        for index in batch.indexes
    ]
    assert sorted(indexes) == list(range(5))


def test_skipped_batches_do_not_change_the_others(records):
    dataset = TrainingSet(records, training_transform(64, "ssd"))
    batches, rest = (
        list(training_batches(dataset, 1, seed=0, epochs=range(1), workers=0, skip=skip)) for skip in (0, 2)
    )
    assert (len(batches), len(rest)) == (5, 3)
    assert all(torch.equal(a.images, b.images) for a, b in zip(batches[2:], rest, strict=True))


def test_the_batches_of_several_epochs_are_those_of_each(records):
    dataset = TrainingSet(records, training_transform(64, "flip"))

    def images(epochs, skip=0):
        return [b.images for b in training_batches(dataset, 2, seed=0, epochs=epochs, workers=0, skip=skip)]

    each = [image for epoch in (1, 2) for image in images(range(epoch, epoch + 1))]
    assert torch.equal(torch.stack(images(range(1, 3))), torch.stack(each))
    assert torch.equal(torch.stack(images(range(1, 3), skip=3)), torch.stack(each[3:]))
    assert len(training_batches(dataset, 2, seed=0, epochs=range(1, 3), workers=0, skip=3)) == 1


def test_the_shorter_side_gives_way_to_the_longer():
    assert padded_size(100, 300, inference_transform(32, 64, 96)) == (32, 96)
    assert padded_size(100, 300, inference_transform(64, None, 96)) == (64, 64)


@pytest.mark.parametrize("size", [(1, 1000), (4000, 1), (3, 900), (1, 1), (2, 2)])
@pytest.mark.parametrize("augmentation", ["ssd", "scale_jitter", "flip"])
def test_images_a_few_pixels_wide_or_high_survive_the_transforms(tmp_path, size, augmentation):
    Image.new("RGB", size, "red").save(tmp_path / "a.png")
    record = make_record("a", tmp_path / "a.png", size, boxes=[[0, 0, *size]], labels=[0])
    dataset = TrainingSet([record], training_transform(64, augmentation))
    for seed in range(10):
        image, boxes, labels = dataset[0, seed]
        assert image.shape == (3, 64, 64) and image.isfinite().all() and len(boxes) == len(labels)
    for transform in (inference_transform(64, 60, 90), inference_transform(64, None, 90)):
        [batch] = inference_batches([record], transform, 1, workers=0)
        assert batch.images.shape[-2] <= 96 and batch.images.isfinite().all()
        assert min(batch.sizes[0]) >= 1


def test_the_shorter_and_the_longer_side_may_be_equal():
    assert padded_size(300, 100, inference_transform(32, 64, 64)) == (64, 32)


@pytest.mark.parametrize("size", [(375, 500), (500, 333), (480, 640), (100, 100), (20, 333)])
def test_test_images_are_resized_as_torchvision_does(size):
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = v2.functional.resize(image, 60, max_size=90, antialias=True)
    normalised = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET.mean, IMAGENET.std)])(
        expected
    )
    assert torch.equal(inference_transform(32, 60, 90)(image), normalised)
    of_weights = ResNet50_Weights.DEFAULT.transforms()
    assert (list(IMAGENET.mean), list(IMAGENET.std)) == (of_weights.mean, of_weights.std)


class Fatal(TrainingSet):
    """A set whose images are each the end of the process that loads it."""

    def __getitem__(self, key):
        os.kill(os.getpid(), signal.SIGKILL)


def load_with_a_process_that_is_killed():
    fatal = Fatal([make_record("a", Path("a.jpg"), (30, 20), [], [])], training_transform(64, "flip"))
    with interrupted_with_loaders():
        list(training_batches(fatal, 1, seed=0, epochs=range(1), workers=1))


@pytest.mark.slow
def test_a_killed_loader_is_an_interruption_with_a_word_on_memory():
    """In a process of its own: torch raises its error when some child ends, wherever the program then is."""
    name = load_with_a_process_that_is_killed.__name__
    done = run_python(["-c", f"from tests.data.test_loading import {name}; {name}()"], fresh=True)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode and re.search("LoaderKilled: .*memory.*lower workers.*run the same command again", last)


def load_a_lost_image():
    lost = TrainingSet([make_record("a", Path("a.jpg"), (30, 20), [], [])], training_transform(64, "flip"))
    for workers in (0, 1):
        with pytest.raises(DataError) as raised, interrupted_with_loaders():
            list(training_batches(lost, 1, seed=0, epochs=range(1), workers=workers))
        print(raised.value)


@pytest.mark.slow
def test_an_image_that_is_lost_while_a_run_trains_is_named_in_one_line():
    """In a process of its own, with which the loading process ends."""
    name = load_a_lost_image.__name__
    done = run_python(["-c", f"from tests.data.test_loading import {name}; {name}()"], fresh=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and all(line.startswith("a.jpg cannot be read as an image (No such file") for line in lines)


def test_an_error_of_a_loader_is_no_interruption():
    error = RuntimeError("DataLoader worker (pid 12) exited unexpectedly with exit code 1. Details are lost")
    with pytest.raises(RuntimeError) as raised, interrupted_with_loaders():
        raise error
    assert raised.value is error
