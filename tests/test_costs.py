import re
import subprocess
import sys

import pytest
import torch

from src.costs import __main__ as costs
from src.costs.__main__ import BUCKETED, FLOOR, FOCAL, FUNCTIONS, LOOP, STAGES, bucketed_error, make_problem
from tests.conftest import ROOT

SIZE = ["--logits=160100", "--positives=40", "--repeats=1"]
CPU = torch.device("cpu")
RATIO = re.compile(r"([\d,]+\.\d) \((\d+\.\d\d)×\)")


def call(*options):
    return subprocess.run(
        [sys.executable, "-m", "src.costs", *options], cwd=ROOT, capture_output=True, text=True, timeout=600
    )


def tables(output):
    """For each table its header and its rows, as dicts by the header."""
    found = []
    for block in output.split("\n\n"):
        lines = [line.strip("| ").split(" | ") for line in block.splitlines() if line.startswith("|")]
        if lines:
            header, dashes, *rows = lines
            assert set(dashes) == {"---"} and all(len(row) == len(header) for row in rows)
            found.append((header, {row[0]: dict(zip(header, row, strict=True)) for row in rows}))
    return found


@pytest.fixture(scope="module")
def output():
    process = call(*SIZE, "--loop")
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_every_table_has_every_row_and_ratios(output):
    assert output.startswith("160,000 logits, 40 positives")
    scaling = [
        ["function", "40,000 / 40", "80,000 / 40", "160,000 / 40"],
        ["function", *(f"160,000 / {number}" for number in (10, 20, 40, 80))],
    ]
    found = tables(output)
    stages = ["function", *STAGES]
    assert [header for header, _ in found] == [stages, stages, scaling[0], scaling[0], scaling[1], scaling[1]]
    for number, (header, rows) in enumerate(found):
        without = [FLOOR, LOOP] if number % 2 else [LOOP] if number > 1 else []
        assert list(rows) == [name for name in FUNCTIONS if name not in without]
        for name, row in rows.items():
            cells = [row[column] for column in header[1:]]
            if number % 2 and "cannot be told" in output:
                assert set(cells) == {"–"}
                continue
            if number > 1:
                assert float(cells.pop(0).replace(",", "")) >= 0
            assert all(RATIO.match(cell) for cell in cells)
            assert number > 1 or name != FOCAL or all(RATIO.match(cell)[2] == "1.00" for cell in cells)


def test_error_of_the_bucketed_approximation_stands_beside_its_time(output):
    (_, rows), *_ = tables(output)
    for stage in STAGES:
        problem = make_problem(160_000, 40, stage)
        expected = f"error {100 * bucketed_error(problem.logits, problem.targets):.2g}%"
        assert rows[BUCKETED][stage].endswith(expected)


def test_bucketed_error_vanishes_with_delta_only():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randperm(2000, generator=generator) * 0.01 - 10
    targets = (torch.rand(2000, generator=generator) < 0.05).to(torch.int8)
    assert bucketed_error(logits, targets, delta=1e-4) < 1e-6
    assert bucketed_error(logits, targets, delta=1.0) > 1e-3


def test_problem_is_what_every_function_can_take():
    problem = make_problem(1600, 80, "half-way")
    assert problem.logits.shape == problem.targets.shape == (8, 10, 20)
    assert (problem.targets.sum(2) == 1).all()  # as many positives as anchors: one for each
    assert problem.targets.dtype == torch.int8 and torch.equal(problem.positive, problem.targets.float())
    assert torch.equal(problem.with_background[..., 1:], problem.logits)
    moved = 2 * problem.source.nbytes  # read and written
    assert moved == problem.logits.nbytes + problem.targets.nbytes + problem.logits.nbytes


def test_only_the_functions_asked_for_beside_focal_loss():
    process = call(*SIZE, "--only=ap_loss step=heaviside,ohem_loss")
    assert process.returncode == 0, process.stderr
    for _, rows in tables(process.stdout):
        assert list(rows) == [FOCAL, "ap_loss step=heaviside", "ohem_loss"]


@pytest.mark.parametrize(
    "options, message",
    [
        (["--only=ap_los"], "no such function: ap_los; there are sigmoid_focal_loss, ap_loss, "),
        (["--logits=16160", "--positives=201"], "16,160 logits can have 4 to 200 positives"),
        (["--repeats=0"], "--repeats must be at least 1"),
    ],
)
def test_says_what_is_wrong_with_the_options(options, message):
    process = call(*options)
    assert process.returncode == 2 and message in process.stderr


def memory_of_known_needs():
    """Peaks in MiB of calls that need 0, 1 and 4 tensors of 8 MiB at once, thrice, in varying order."""

    def at_once():
        [torch.ones(2**21) for _ in range(4)]

    def one_after_another():
        for _ in range(4):
            torch.ones(2**21)

    calls = {"none": lambda: None, "one": one_after_another, "four": at_once}
    order = ["four", "one", "none", "one", "four", "none", "none", "four", "one"]
    found = [(name, costs.peak_memory(calls[name], CPU)) for name in order]
    return [(name, peak if peak is None else peak / 2**20) for name, peak in found]


def test_peak_memory_of_calls_of_known_need():
    with costs.in_a_process_apart() as process:
        found = process.submit(memory_of_known_needs).result()
    if found[0][1] is None:
        pytest.skip("this system does not tell")
    expected = {"none": 0, "one": 8, "four": 32}
    for name, peak in found:
        assert peak == pytest.approx(expected[name], abs=2)
