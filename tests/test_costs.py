import contextlib
import io
import os
import re

import pytest
import torch

from src.costs.__main__ import main
from src.costs.functions import BUCKETED, FLOOR, FOCAL, FOCAL_COMPILED, FUNCTIONS, LOOP, bucketed_error
from src.costs.measure import peak_memory, separate_process, with_progress
from src.costs.problems import STAGES, ProblemSize, make_problem
from tests.support.programs import run_python

SIZE = ["--logits=64100", "--positives=40", "--repeats=1"]
CPU = torch.device("cpu")
RATIO = re.compile(r"([\d,]+\.\d) \((\d+\.\d\d)×\)")


def call(*options, **environment):
    """Run `python -m src.costs` as a user does."""
    return run_python(["-m", "src.costs", *options], environment=os.environ | environment, fresh=True)


def tables(output):
    """Return for each table its header and its rows, as dicts by the header."""
    parsed = []
    for block in output.split("\n\n"):
        lines = [line.strip("| ").split(" | ") for line in block.splitlines() if line.startswith("|")]
        if lines:
            header, dashes, *rows = lines
            assert set(dashes) == {"---"} and all(len(row) == len(header) for row in rows)
            parsed.append((header, {row[0]: dict(zip(header, row, strict=True)) for row in rows}))
    return parsed


@pytest.fixture(scope="module")
def output():
    with contextlib.redirect_stdout(io.StringIO()) as written:
        main([*SIZE, "--loop"])
    return written.getvalue()


@pytest.mark.slow
def test_every_table_has_every_row_and_ratios(output):
    assert output.startswith("64,000 logits, 40 positives")
    scaling = [
        ["function", "16,000 / 40", "32,000 / 40", "64,000 / 40"],
        ["function", *(f"64,000 / {number}" for number in (10, 20, 40, 80))],
    ]
    parsed = tables(output)
    stages = ["function", *STAGES]
    assert [header for header, _ in parsed] == [stages, stages, scaling[0], scaling[0], scaling[1], scaling[1]]
    for number, (header, rows) in enumerate(parsed):
        left_out = [FLOOR, LOOP] if number % 2 else [LOOP] if number > 1 else []
        assert list(rows) == [name for name in FUNCTIONS if name not in (FOCAL_COMPILED, *left_out)]
        for name, row in rows.items():
            cells = [row[column] for column in header[1:]]
            if number % 2 and "not reported" in output:
                assert set(cells) == {"–"}
                continue
            if number > 1:
                assert float(cells.pop(0).replace(",", "")) >= 0
            assert all(RATIO.match(cell) for cell in cells)
            assert number > 1 or name != FOCAL or all(RATIO.match(cell)[2] == "1.00" for cell in cells)


@pytest.mark.slow
def test_header_names_the_baseline_and_the_threads(output):
    first, second, *_ = output.splitlines()
    assert first.endswith("ratios are to torchvision's sigmoid_focal_loss, eager")
    threads = torch.get_num_threads()
    assert second.startswith(f"{threads} CPU thread{'s' * (threads > 1)}, torch ")


@pytest.mark.slow
def test_error_of_the_bucketed_approximation_stands_beside_its_time(output):
    (_, rows), *_ = tables(output)
    for stage in STAGES:
        problem = make_problem(ProblemSize(64_000, 40, stage))
        expected = f"error {100 * bucketed_error(problem.logits, problem.targets):.2g}%"
        assert rows[BUCKETED][stage].endswith(expected)


def test_bucketed_error_vanishes_with_delta_only():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randperm(2000, generator=generator) * 0.01 - 10
    targets = (torch.rand(2000, generator=generator) < 0.05).to(torch.int8)
    assert bucketed_error(logits, targets, delta=1e-4) < 1e-6
    assert bucketed_error(logits, targets, delta=1.0) > 1e-3


def test_problem_suits_every_function():
    problem = make_problem(ProblemSize(1600, 80, "half-way"))
    assert problem.logits.shape == problem.targets.shape == (8, 10, 20)
    assert (problem.targets.sum(2) == 1).all()  # as many positives as anchors: one for each
    assert problem.targets.dtype == torch.int8 and torch.equal(problem.positive, problem.targets.float())
    assert torch.equal(problem.with_background[..., 1:], problem.logits)
    moved = 2 * problem.source.nbytes  # read and written
    assert moved == problem.logits.nbytes + problem.targets.nbytes + problem.logits.nbytes


@pytest.mark.slow
def test_option_only_leaves_the_other_functions_out(capsys):
    main([*SIZE, "--only=ap_loss step=heaviside,ohem_loss"])
    parsed = tables(capsys.readouterr().out)
    assert len(parsed) == 6
    for _, rows in parsed:
        assert list(rows) == [FOCAL, "ap_loss step=heaviside", "ohem_loss"]


@pytest.mark.slow
def test_without_a_compiler_one_line_gives_the_reason_and_the_other_rows_are_measured(tmp_path):
    environment = {"CXX": str(tmp_path / "no-compiler"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    process = call(*SIZE, "--compiled", "--only=ohem_loss", **environment)
    assert process.returncode == 0, process.stderr
    assert re.search(rf"^Without the row {FOCAL_COMPILED}: .*(compiler|CXX)", process.stdout, re.MULTILINE)
    for _, rows in tables(process.stdout):
        assert list(rows) == [FOCAL, "ohem_loss"]


@pytest.mark.parametrize(
    "options, message",
    [
        (["--only=ap_los"], "no such function: ap_los; there are sigmoid_focal_loss, ap_loss, "),
        (["--logits=16160", "--positives=201"], "16,160 logits can have 4 to 200 positives"),
        (["--repeats=0"], "--repeats must be at least 1"),
    ],
)
def test_wrong_options_end_with_a_message(options, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(options)
    assert stop.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.slow
def test_progress_needs_no_tqdm():
    code = (
        "import sys; sys.modules['tqdm'] = None; from src.costs.measure import with_progress; "
        "print(*with_progress([1], 'time', 'call'))"
    )
    assert run_python(["-c", code], fresh=True).stdout == "1\n"
    assert list(with_progress([1, 2], "time", "call")) == [1, 2]


def memory_of_known_needs():
    """Return peaks in MiB of calls that need 0, 1 and 4 tensors of 8 MiB at once, three of each in varying order."""

    def at_once():
        [torch.ones(2**21) for _ in range(4)]

    def one_after_another():
        for _ in range(4):
            torch.ones(2**21)

    calls = {"none": lambda: None, "one": one_after_another, "four": at_once}
    order = ["four", "one", "none", "one", "four", "none", "none", "four", "one"]
    peaks = [(name, peak_memory(calls[name], CPU)) for name in order]
    return [(name, peak if peak is None else peak / 2**20) for name, peak in peaks]


@pytest.mark.slow
def test_peak_memory_of_calls_of_known_need():
    with separate_process() as process:
        peaks = process.submit(memory_of_known_needs).result()
    if peaks[0][1] is None:
        pytest.skip("this system does not report it")
    expected = {"none": 0, "one": 8, "four": 32}
    for name, peak in peaks:
        assert peak == pytest.approx(expected[name], abs=2)


def test_times_over_sizes_are_given_in_those_of_focal_loss(capsys):
    main(["--sizes=6400,64000", "--only=ap_loss", "--repeats=1"])
    output = capsys.readouterr().out
    ((header, rows),) = tables(output)
    assert header == ["function", "6,400", "64,000"] and list(rows) == [FOCAL, "ap_loss"]
    for column in header[1:]:
        (_, of_itself), (own, over_focal) = (RATIO.fullmatch(row[column]).groups() for row in rows.values())
        assert of_itself == "1.00" and float(own) > 0 and float(over_focal) > 0
    with pytest.raises(SystemExit):
        main(["--sizes=10"])
