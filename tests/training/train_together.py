"""Runs one configuration after another; to be started by torchrun. Argument: a JSON list of lists of overrides.

The network computes in float64, so that what is left of a difference is none of its rounding.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from src.config.registry import DETECTORS
from src.detectors.detector import Detector
from src.detectors.retinanet import RetinaNet, build_retinanet
from tests.support.runs import run_here


class Float64RetinaNet(RetinaNet):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.double()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(images.double())


def build_in_float64(options: Mapping[str, Any], image_size: int) -> Detector:
    """Build RetinaNet with a network that computes in float64."""

    def build_network(outputs: int) -> Float64RetinaNet:
        return Float64RetinaNet(outputs, options["backbone"], options["weights"], options["channels"])

    return dataclasses.replace(build_retinanet(options, image_size), build_network=build_network)


if __name__ == "__main__":
    entry = dataclasses.replace(DETECTORS["retinanet"], builder="tests.training.train_together.build_in_float64")
    DETECTORS["retinanet"] = entry
    for overrides in json.loads(sys.argv[1]):
        run_here(*overrides)
