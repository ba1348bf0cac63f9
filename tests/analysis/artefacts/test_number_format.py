import math
from dataclasses import replace

import pytest

from analysis.artefacts.artefact import Absent, Published
from analysis.artefacts.number_format import to_text
from analysis.artefacts.statistics import Estimate
from tests.analysis.report.samples import COUNT, LEAD, ONE_SEED, TWO_SEEDS


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (TWO_SEEDS, "29.0 ± 0.5"),
        (ONE_SEED, "26.0 †"),
        (LEAD, "−3.0 ± 0.9"),
        (COUNT, "7"),
        (replace(LEAD, estimate=Estimate(0.125, 0.0, 3), digits=0, signed=False), "0.1 ± 0.0"),
        (replace(LEAD, estimate=Estimate(0.0, 0.0, 3), digits=0, signed=False), "0 ± 0"),
        (Absent(), "missing"),
        (replace(LEAD, estimate=Estimate(1.26, 0.04, 3)), "+1.3 ± 0.0"),
        (replace(LEAD, estimate=Estimate(-0.04, math.nan, 1)), "0.0 †"),
        (Published(-1.25, "Table 1", digits=2, signed=True), "−1.25"),
        ("–", "–"),
    ],
)
def test_a_number_has_its_sign_digits_and_interval(cell, text):
    assert to_text(cell) == text
