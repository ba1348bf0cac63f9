"""Runs one configuration after another; to be started by torchrun. Argument: a JSON list of lists of overrides.

The network computes in float64, so that what is left of a difference is none of its rounding.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping
from typing import Any

from torch import nn

from src.config.registry import DETECTORS
from src.detectors.detector import Detector
from src.detectors.ssd import build_ssd
from tests.support.runs import run_here


def build_in_float64(options: Mapping[str, Any], image_size: int) -> Detector:
    """Build SSD with a network that computes in float64."""
    detector = build_ssd(options, image_size)

    def build_network(outputs: int) -> nn.Module:
        network = detector.build_network(outputs).double()
        network.register_forward_pre_hook(lambda _, images: tuple(image.double() for image in images))
        return network

    return dataclasses.replace(detector, build_network=build_network)


IN_FLOAT64 = dataclasses.replace(DETECTORS["ssd"], builder="tests.training.train_together.build_in_float64")

if __name__ == "__main__":
    DETECTORS["ssd"] = IN_FLOAT64
    for overrides in json.loads(sys.argv[1]):
        run_here(*overrides)
