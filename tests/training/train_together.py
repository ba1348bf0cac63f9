"""Runs one configuration after another; to be started by torchrun. Argument: a JSON list of lists of overrides.

The network computes in float64, so that what is left of a difference is none of its rounding.
"""

import json
import sys

from torch import Tensor

from src.config.registry import DETECTORS, Detector
from src.detectors.retinanet import RetinaNet
from tests.support.runs import run_here


class Float64RetinaNet(RetinaNet):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.double()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(images.double())


if __name__ == "__main__":
    DETECTORS["retinanet"] = Detector("RetinaNet", "tests.training.train_together.Float64RetinaNet")
    for overrides in json.loads(sys.argv[1]):
        run_here(*overrides)
