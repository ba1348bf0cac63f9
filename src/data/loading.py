"""Images and boxes in batches, the same whatever the number of workers."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from src.data.records import DataError, ImageRecord
from src.data.transforms import pad_image, padded_size
from src.utils.signals import ignore_signals


@dataclass(frozen=True)
class TrainingBatch:
    images: Tensor  # float32 [B, 3, S, S]
    boxes: list[Tensor]  # float32 [N, 4] for each image
    labels: list[Tensor]  # int64 [N]


@dataclass(frozen=True)
class InferenceBatch:
    images: Tensor  # float32 [B, 3, H, W], padded; all of one size
    sizes: list[tuple[int, int]]  # (height, width) of each without its padding
    indexes: list[int]  # of each in the data set


def read_image(record: ImageRecord) -> tv_tensors.Image:
    """The image as uint8 [3, H, W], in RGB.

    Raises:
        DataError: the file cannot be read whole, or its size is not the one its annotation gives.
    """
    try:
        with Image.open(record.path) as file:
            image = file.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        message = f"{record.path} cannot be read ({error}); replace it, or take it off the split's list"
        raise DataError(message) from error
    if image.size != (record.width, record.height):
        raise DataError(
            f"{record.path} has {image.width}×{image.height} pixels, but its annotation says "
            f"{record.width}×{record.height}; its boxes cannot be trusted"
        )
    return tv_tensors.Image(v2.functional.pil_to_tensor(image))


class TrainingSet(Dataset):
    """Augmented images with the boxes to train on; an item's key is (index, random seed)."""

    def __init__(self, records: list[ImageRecord], transform: v2.Transform):
        self.records, self.transform = records, transform

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        index, seed = key
        record = self.records[index]
        boxes, labels = record.training_objects()
        target = {
            "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(record.height, record.width)),
            "labels": labels,
        }
        # A seed of its own makes an item's augmentation independent of workers and of what was loaded before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            image, target = self.transform(read_image(record), target)
        return image.as_subclass(Tensor), target["boxes"].as_subclass(Tensor), target["labels"]


class _InferenceSet(Dataset):
    def __init__(self, records: list[ImageRecord], transform: v2.Transform):
        self.records, self.transform = records, transform

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(read_image(self.records[index])).as_subclass(Tensor), index


class _EpochSampler:
    """Batches of (index, seed) for one epoch, decided by the run's seed and the epoch alone.

    Of `parts` processes, number `part` gets its share of each batch; together, in their order, they have the batch.
    """

    def __init__(self, size: int, batch_size: int, seed: int, epoch: int, skip: int, part: int, parts: int):
        self.size, self.batch_size, self.seed, self.epoch, self.skip = size, batch_size, seed, epoch, skip
        self.part, self.parts = part, parts

    def __len__(self) -> int:
        return max(self.size // self.batch_size, 1) - self.skip

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = torch.randperm(self.size, generator=torch.Generator().manual_seed(derive_seed(self.seed, self.epoch)))
        for batch in order.split(self.batch_size)[self.skip : self.skip + len(self)]:
            share = batch.tensor_split(self.parts)[self.part].tolist()
            yield [(index, derive_seed(self.seed, self.epoch, index)) for index in share]


def derive_seed(*numbers: int) -> int:
    """A seed of 63 bits from several numbers, such as the run's seed, the epoch and the image."""
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()) >> 1


def training_batches(
    dataset: TrainingSet,
    batch_size: int,
    seed: int,
    epoch: int,
    workers: int,
    skip: int = 0,
    part: int = 0,
    parts: int = 1,
) -> DataLoader[TrainingBatch]:
    """The batches of one epoch; the images that do not fill a last batch wait for another epoch.

    Args:
        skip: leaves out so many batches at the beginning.
        part, parts: gives only this part of each batch; the parts in their order are the batch.
    """
    sampler = _EpochSampler(len(dataset), batch_size, seed, epoch, skip, part, parts)
    return _loader(dataset, sampler, workers, _collate_training)


def inference_batches(
    records: list[ImageRecord], transform: v2.Transform, batch_size: int, workers: int, part: int = 0, parts: int = 1
) -> DataLoader[InferenceBatch]:
    """All images once, in batches of one padded size each, so that a result does not depend on its batch.

    Of `parts` processes, number `part` gets every so many batches.
    """
    groups = defaultdict(list)
    for index, record in enumerate(records):
        groups[padded_size(record.height, record.width, transform)].append(index)
    batches = [group[i : i + batch_size] for group in groups.values() for i in range(0, len(group), batch_size)]
    return _loader(_InferenceSet(records, transform), batches[part::parts], workers, _collate_test)


def _loader(dataset: Dataset, batches, workers: int, collate) -> DataLoader:
    # With a generator of its own it leaves torch's alone, so that resuming amid an epoch changes no random number.
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=ignore_signals,
        generator=torch.Generator(),
    )


def _collate_training(items: list[tuple[Tensor, Tensor, Tensor]]) -> TrainingBatch:
    images, boxes, labels = zip(*items, strict=True)
    return TrainingBatch(torch.stack(images), list(boxes), list(labels))


def _collate_test(items: list[tuple[Tensor, int]]) -> InferenceBatch:
    images, indexes = zip(*items, strict=True)
    sizes = [tuple(image.shape[-2:]) for image in images]
    return InferenceBatch(torch.stack([pad_image(image) for image in images]), sizes, list(indexes))
