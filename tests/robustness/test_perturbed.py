"""Test images perturbed as they are read, and Gaussian noise, the simplest of the perturbations."""

import numpy as np
import pytest
import torch
from PIL import Image

from src.data.images import read_image
from src.data.loading import Share, inference_batches
from src.data.records import make_record
from src.data.transforms import inference_transform
from src.robustness.gaussian_noise import gaussian_noise
from src.robustness.perturbed import PerturbedImages, build_perturbed_images


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder, generator, records = tmp_path_factory.mktemp("images"), np.random.default_rng(0), []
    for index, (width, height) in enumerate([(100, 80), (80, 100), (120, 90), (100, 80), (64, 64)]):
        path = folder / f"{index}.png"
        Image.fromarray(generator.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(path)
        boxes, flags = [[10, 20, 50, 60], [5, 5, 30, 25], [1, 1, 9, 9]], {"difficult": [0, 1, 0], "crowd": [0, 0, 1]}
        records.append(make_record(str(index), path, (width, height), boxes=boxes, labels=[0, 1, 0], **flags))
    return records


def noisy(value, seed=0):
    image = torch.full((3, 200, 200), value, dtype=torch.uint8)
    return gaussian_noise(image, torch.empty(0, 4), torch.Generator().manual_seed(seed), standard_deviation=0.1)


def test_gaussian_noise_has_the_papers_mean_and_variance_and_stays_in_range():
    grey = noisy(128).double() - 128
    assert abs(grey.mean()) < 0.3 and float((grey / 255).var()) == pytest.approx(0.01, rel=0.02)
    half_normal = 25.5 / (2 * torch.pi) ** 0.5  # negative values are cut off
    assert float(noisy(0).double().mean()) == pytest.approx(half_normal, abs=0.3)
    assert float(255 - noisy(255).double().mean()) == pytest.approx(half_normal, abs=0.3)
    assert noisy(0).dtype == torch.uint8 and not torch.equal(noisy(128), noisy(128, seed=1))


def test_an_image_becomes_the_same_whatever_the_batch_the_workers_and_the_processes(records):
    read = build_perturbed_images({"name": "gaussian_noise", "standard_deviation": 0.1}, seed=3)
    transform = inference_transform(64, None, 64)

    def images(batch_size, workers, parts=1):
        found = {}
        for part in range(parts):
            batches = inference_batches(
                records, transform, batch_size, workers=workers, share=Share(part, parts), read=read
            )
            for batch in batches:
                found |= dict(zip(batch.indexes, batch.images, strict=True))
        return torch.stack([found[index] for index in range(len(records))])

    expected = torch.stack([transform(read(record)) for record in reversed(records)]).flip(0)
    for options in [(1, 0), (5, 0), (2, 2), (2, 0, 2)]:
        assert torch.equal(images(*options), expected)
    other = build_perturbed_images({"name": "gaussian_noise", "standard_deviation": 0.1}, seed=4)
    assert not torch.equal(other(records[0]), read(records[0]))
    assert not torch.equal(read(records[0]), read_image(records[0]))


def test_a_perturbation_gets_the_objects_that_count_and_difficult_ones_only_on_request(records):
    def boxes_of(difficult):
        given = []
        PerturbedImages(lambda image, boxes, generator: given.append(boxes) or image, 0, difficult)(records[0])
        return given[0].tolist()

    assert boxes_of(False) == [[10, 20, 50, 60]]
    assert boxes_of(True) == [[10, 20, 50, 60], [5, 5, 30, 25]]
