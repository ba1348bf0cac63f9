"""Batches of images and boxes; they do not depend on the number of workers."""

import atexit
import hashlib
import itertools
import multiprocessing.util
import re
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from src.data.images import ReadImage, read_image
from src.data.records import DataError, ImageRecord
from src.data.transforms import pad_image, padded_size
from src.utils.signals import Interrupted, ignore_signals

# Torch's texts for a process that was killed. One that ended by itself has an exit code, or a bus error for lack of
# shared memory.
_KILLED = re.compile(r"DataLoader worker \(pid.*\) (exited unexpectedly$|is killed by signal: (Killed|Terminated))")


@atexit.register  # before multiprocessing would wait for them for ever
def _end_loaders() -> None:
    """Kill the processes that load images and remain after an error: they ignore signals to stop."""
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


class LoaderKilled(Interrupted):
    """A process that loads images was killed."""

    def __init__(self) -> None:
        advice = "lower workers, or on SLURM raise hydra.launcher.mem_gb"
        reason = f"stopped because a process that loads images was killed, as when memory runs out ({advice})"
        super().__init__(signal.SIGTERM, reason)


@contextmanager
def interrupted_with_loaders() -> Iterator[None]:
    """Raise what has ended a loading process in place of torch's errors: LoaderKilled, or its own DataError.

    When one was killed, torch raises errors anywhere.
    """
    try:
        yield
    except DataError as error:
        _, raised, message = str(error).rpartition(f"{DataError.__module__}.{DataError.__qualname__}: ")
        if raised:  # torch has put the traceback of the loading process before its message
            raise DataError(message.strip()) from error
        raise
    except RuntimeError as error:
        if isinstance(error, BrokenProcessPool) or _KILLED.search(str(error).strip()):
            raise LoaderKilled from error
        raise


@dataclass(frozen=True)
class TrainingBatch:
    """B augmented images of S × S pixels with the objects to train on."""

    images: Tensor  # float32 [B, 3, S, S]
    boxes: list[Tensor]  # float32 [N, 4] for each image, in its pixels
    labels: list[Tensor]  # int64 [N] for each image

    def pin_memory(self) -> "TrainingBatch":
        """Return the batch in pinned memory, from which a GPU can copy asynchronously; a DataLoader calls this."""
        return self._each(Tensor.pin_memory)

    def to(self, device: torch.device) -> "TrainingBatch":
        """Return the batch on a device; a GPU may still be copying it."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def _each(self, function: Callable[[Tensor], Tensor]) -> "TrainingBatch":
        return TrainingBatch(function(self.images), [*map(function, self.boxes)], [*map(function, self.labels)])

    def tensors(self) -> list[Tensor]:
        """Return all tensors of the batch."""
        return [self.images, *self.boxes, *self.labels]


@dataclass(frozen=True)
class InferenceBatch:
    """B images of one padded size."""

    images: Tensor  # float32 [B, 3, H, W], padded
    sizes: list[tuple[int, int]]  # (height, width) of each image without its padding
    indexes: list[int]  # of each image in the data set


@dataclass(frozen=True)
class Share:
    """The share of the batches that one process loads: number `part` of `parts`."""

    part: int = 0
    parts: int = 1


class TrainingSet(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Augmented images with their boxes and labels to train on; an item's key is (index, random seed)."""

    def __init__(self, records: list[ImageRecord], transform: v2.Transform) -> None:
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
        # The seed makes an item's augmentation independent of workers and of what was loaded before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            image, target = self.transform(read_image(record), target)
        return image.as_subclass(Tensor), target["boxes"].as_subclass(Tensor), target["labels"]


class _InferenceSet(Dataset[tuple[Tensor, int]]):
    def __init__(self, records: list[ImageRecord], transform: v2.Transform, read: ReadImage) -> None:
        self.records, self.transform, self.read = records, transform, read

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.read(self.records[index])).as_subclass(Tensor), index


@dataclass(frozen=True)
class _Sampler:
    """Batches of (index, seed) for some epochs, each determined by the run's seed and the epoch alone.

    Each process gets its share of every batch; the shares in the order of the processes are the batch.
    """

    size: int  # of the data set
    batch_size: int
    seed: int
    epochs: range
    skip: int  # batches left out at the beginning
    share: Share

    def __len__(self) -> int:
        return len(self.epochs) * max(self.size // self.batch_size, 1) - self.skip

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return itertools.islice(self._all(), self.skip, None)

    def _all(self) -> Iterator[list[tuple[int, int]]]:
        for epoch in self.epochs:
            order = torch.randperm(self.size, generator=torch.Generator().manual_seed(derive_seed(self.seed, epoch)))
            for batch in order.split(self.batch_size)[: max(self.size // self.batch_size, 1)]:
                indexes = batch.tensor_split(self.share.parts)[self.share.part].tolist()
                yield [(index, derive_seed(self.seed, epoch, index)) for index in indexes]


def derive_seed(*numbers: int | str) -> int:
    """Return a seed of 63 bits derived from several values, such as the run's seed, the epoch and the image."""
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()) >> 1


def training_batches(
    dataset: TrainingSet,
    batch_size: int,
    *,
    seed: int,
    epochs: range,
    workers: int,
    skip: int = 0,
    share: Share = Share(),
) -> DataLoader[TrainingBatch]:
    """Return the batches of some epochs, without the images that remain after each one's last full batch.

    Args:
        dataset: the images.
        batch_size: of all processes together.
        seed: of the order of images and of their augmentation.
        epochs: by their numbers, from 0.
        workers: processes that load images.
        skip: how many batches to leave out at the beginning.
        share: of each batch.
    """
    sampler = _Sampler(len(dataset), batch_size, seed=seed, epochs=epochs, skip=skip, share=share)
    return _loader(dataset, sampler, workers=workers, collate=_collate_training)


def on_device(batches: DataLoader[TrainingBatch], device: torch.device) -> Iterator[TrainingBatch]:
    """Yield batches on a device. A GPU copies each during the step before it."""
    if device.type != "cuda":
        for batch in batches:
            yield batch.to(device)
        return
    batches.pin_memory = True  # only from such memory does a GPU copy without waiting
    copies = torch.cuda.Stream(device)
    for batch in batches:
        with torch.cuda.stream(copies):
            batch = batch.to(device)
        steps = torch.cuda.current_stream(device)
        steps.wait_stream(copies)
        for tensor in batch.tensors():
            tensor.record_stream(steps)  # or its memory could be given to the next batch before the step has read it
        yield batch


def inference_batches(
    records: list[ImageRecord],
    transform: v2.Transform,
    batch_size: int,
    *,
    workers: int,
    share: Share = Share(),
    read: ReadImage = read_image,
) -> DataLoader[InferenceBatch]:
    """Return all images once, in batches of one padded size each, so that a result does not depend on its batch.

    Args:
        records: the images.
        transform: to the detector's input, before padding.
        batch_size: of each process.
        workers: processes that load images.
        share: of the batches.
        read: returns the image of a record, as `read_image` does.
    """
    groups = defaultdict(list)
    for index, record in enumerate(records):
        groups[padded_size(record.height, record.width, transform)].append(index)
    batches = [group[i : i + batch_size] for group in groups.values() for i in range(0, len(group), batch_size)]
    batches_here = batches[share.part :: share.parts]
    return _loader(_InferenceSet(records, transform, read), batches_here, workers=workers, collate=_collate_inference)


def _loader(
    dataset: Dataset[Any],
    batches: Iterable[list[Any]],
    *,
    workers: int,
    collate: Callable[[list[Any]], Any],
) -> DataLoader[Any]:
    # Its own generator leaves torch's alone, so that resuming in the middle of an epoch changes no random number.
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


def _collate_inference(items: list[tuple[Tensor, int]]) -> InferenceBatch:
    images, indexes = zip(*items, strict=True)
    sizes = [(image.shape[-2], image.shape[-1]) for image in images]
    return InferenceBatch(torch.stack([pad_image(image) for image in images]), sizes, list(indexes))
