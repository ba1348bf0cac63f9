"""The images that an experiment is trained and tested on."""

from dataclasses import dataclass

from omegaconf import DictConfig
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from src.data.datasets import read_data
from src.data.images import ReadImage, read_image
from src.data.loading import InferenceBatch, Share, TrainingBatch, TrainingSet, inference_batches, training_batches
from src.data.records import ImageRecord
from src.data.transforms import Normalisation, View, inference_views, training_transform
from src.utils.distributed import World


@dataclass(frozen=True)
class Data:
    """The images to train on and to test on, in batches; with several processes, each loads its part."""

    train: TrainingSet
    test: list[ImageRecord]
    classes: list[str]
    views: list[View]  # of test images; their detections are merged
    batch_size: int  # of all processes together
    seed: int  # of the order of images and their augmentation
    workers: int
    world: World
    read_test_image: ReadImage = read_image

    def training_batches(self, epoch: int, skip: int = 0, *, epochs: int = 1) -> DataLoader[TrainingBatch]:
        """Return this process's part of the batches of `epochs` epochs from this one on, without the first `skip`."""
        return training_batches(
            self.train,
            self.batch_size,
            seed=self.seed,
            epochs=range(epoch, epoch + epochs),
            workers=self.workers,
            skip=skip,
            share=Share(self.world.rank, self.world.size),
        )

    def inference_batches(self, records: list[ImageRecord], view: View, shared: bool) -> DataLoader[InferenceBatch]:
        """Return batches of one view of these records' images; with `shared`, only this process's part of them."""
        share = Share(self.world.rank, self.world.size) if shared else Share()
        return inference_batches(
            records, view.transform, self.batch_size, workers=self.workers, share=share, read=self.read_test_image
        )


def build_data(config: DictConfig, normalisation: Normalisation, world: World) -> Data:
    """Read the data set of a configuration.

    Args:
        config: resolved.
        normalisation: of the network's input.
        world: the processes that share the images.

    Raises:
        DataError: something is wrong on disk; the message names the file.
    """
    dataset = config.dataset
    options = {key: dataset[key] for key in ("train", "test", "classes", "classes_as_one")}
    train, test, classes = read_data(dataset.format, dataset.root, **options)
    augment = training_transform(dataset.train_size, dataset.augmentation, normalisation)
    return _data(config, TrainingSet(train, augment), test, classes, normalisation=normalisation, world=world)


def build_test_data(
    config: DictConfig, records: list[ImageRecord], classes: list[str], *, normalisation: Normalisation
) -> Data:
    """Return images to test a trained detector on, for this process alone, and none to train on."""
    nothing = TrainingSet([], v2.Identity())
    return _data(config, nothing, records, classes, normalisation=normalisation, world=World())


def _data(
    config: DictConfig,
    train: TrainingSet,
    test: list[ImageRecord],
    classes: list[str],
    *,
    normalisation: Normalisation,
    world: World,
) -> Data:
    dataset, tests = config.dataset, config.test
    test_size = dataset.train_size, dataset.test_shorter_side, dataset.test_longer_side
    return Data(
        train,
        test,
        classes,
        views=inference_views(test_size, normalisation, scales=tests.scales, mirror=tests.mirror),
        batch_size=config.batch_size,
        seed=config.seed,
        workers=config.workers,
        world=world,
    )
