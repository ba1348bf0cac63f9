"""`benchmarks/gpu.sh` on the CPU with small sizes, so that it is known to work before a GPU is at hand."""

import json
import os
import subprocess
import sys
import time

import pytest
import torch
from torchvision.models.detection import retinanet_resnet50_fpn

from benchmarks.gpu.__main__ import main
from benchmarks.gpu.correctness import Errors, compare, power_of_two_below
from benchmarks.gpu.parts import PARTS, RUN_PACKAGES, missing_packages
from benchmarks.gpu.problems import ranking_problems
from benchmarks.gpu.runner import Log, run_with_limit
from benchmarks.gpu.throughput import CLASSES, torchvision_retinanet
from src.losses import auc_loss
from src.utils import paths

NAMES = [part.name for part in PARTS]
# What a machine may lack that has torch and torchvision alone.
OTHER_PACKAGES = ["hydra", "omegaconf", "wandb", "pycocotools", "submitit", "scipy", "pandas", "matplotlib", "tqdm"]


def gpu_script(folder, *options):
    """Run `bash benchmarks/gpu.sh` from another folder, as on the CPU."""
    command = ["bash", paths.ROOT / "benchmarks/gpu.sh", "--device", "cpu", "--quick", "--out", "results", *options]
    environment = os.environ | {"PYTHON": sys.executable}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=580)


def table_of_parts(summary):
    """Return the cells of the last table by part."""
    lines = summary.split("\nParts\n")[1].strip().splitlines()
    return {cells[0]: cells[1:] for cells in (line.strip("| ").split(" | ") for line in lines[2:])}


@pytest.mark.slow
def test_every_part_runs_and_leaves_its_files_and_a_table(tmp_path):
    process = gpu_script(tmp_path)
    assert process.returncode == 0, process.stdout + process.stderr
    folder = tmp_path / "results"
    summary = (folder / "summary.md").read_text()
    assert process.stdout.endswith(f"{summary}\nWritten to {folder}\n")
    assert {name: cells[1] for name, cells in table_of_parts(summary).items()} == dict.fromkeys(NAMES, "passed")
    results = {name: json.loads((folder / f"{name}.json").read_text()) for name in NAMES}
    assert all(result["status"] == "passed" and result["tables"] and result["values"] for result in results.values())
    assert results["environment"]["values"]["torch"] == torch.__version__
    assert set(results["training"]["values"]) == {"fp32", "bf16"}
    assert results["two_processes"]["values"]["backend"] == "gloo"
    functions = {row["function"] for row in results["costs"]["values"]["stages"]}
    assert {"ap_loss", "sigmoid_focal_loss", "sigmoid_focal_loss compiled"} <= functions
    log = (folder / "log.txt").read_text()
    assert log.endswith(f"{summary}\nWritten to {folder}\n") and all(f"left] {name}: " in log for name in NAMES)


@pytest.mark.slow
def test_a_part_that_fails_is_reported_and_the_others_go_on(tmp_path):
    process = gpu_script(tmp_path, "--only=environment,correctness", "--limit=environment=0.01")
    assert process.returncode == 1
    parts = table_of_parts((tmp_path / "results/summary.md").read_text())
    assert parts["environment"][1] == "failed" and parts["environment"][3] == "not finished within 0.01 s"
    assert parts["correctness"][1] == "passed"
    outcome = json.loads((tmp_path / "results/environment.json").read_text())
    assert (outcome["status"], outcome["reason"]) == ("failed", "not finished within 0.01 s")


@pytest.mark.slow
def test_a_part_that_ends_with_an_error_is_reported_with_its_last_line(tmp_path, capsys):
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    assert main(["--device=cuda", "--only=environment", f"--out={tmp_path}"]) == 1
    parts = table_of_parts(capsys.readouterr().out.split("\nWritten to")[0])
    assert parts["environment"][1] == "failed" and "exit code 1: " in parts["environment"][3]
    assert "cuda" in parts["environment"][3].lower() or "nvidia" in parts["environment"][3].lower()


@pytest.mark.slow
def test_time_limit_stops_what_a_part_has_started_too(tmp_path):
    late = tmp_path / "late"
    command = ["sh", "-c", f"(sleep 3; touch {late}) & echo started; sleep 60"]
    seconds, failure = run_with_limit(command, 1, Log(tmp_path / "log.txt"))
    assert failure == "not finished within 1 s" and seconds < 20
    time.sleep(4)
    assert not late.exists()
    assert (tmp_path / "log.txt").read_text() == "started\n"


@pytest.mark.parametrize(
    "options, message",
    [
        (["--only=cost"], "no such part: cost; there are environment, "),
        (["--limit=cost=3"], "no such part: cost"),
        (["--limit=costs=soon"], "--limit takes PART=SECONDS"),
    ],
)
def test_wrong_options_end_with_a_message(options, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(options)
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_missing_packages_are_named_as_pip_names_them():
    packages = {"pillow": "PIL", "no-such-package": "no_such_module", "neither": "no_such_module.at_all"}
    assert missing_packages(packages) == ["no-such-package", "neither"]
    assert missing_packages(RUN_PACKAGES) == []


def test_time_limits_stay_below_ten_minutes():
    assert sum(part.seconds for part in PARTS) <= 600


@pytest.mark.slow
def test_parts_without_packages_need_torch_and_torchvision_alone():
    names = [*(part.name for part in PARTS if not part.packages), "two_processes_worker"]
    modules = ", ".join(f"benchmarks.gpu.{name}" for name in names)
    code = f"import sys; sys.modules |= dict.fromkeys({OTHER_PACKAGES}); import {modules}"
    process = subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


@pytest.mark.slow
def test_torchvision_detector_is_the_published_one():
    def shapes(model):
        return {name: tensor.shape for name, tensor in model.state_dict().items()}

    published = retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=CLASSES)
    assert shapes(torchvision_retinanet("resnet50", 512)) == shapes(published)


def test_correctness_finds_a_loss_that_is_wrong_on_the_device():
    def wrong_in_float32(logits, targets):
        return auc_loss(logits, targets, delta=1.001 if logits.dtype == torch.float32 else 1.0)

    problems = {"random": ranking_problems(large=100)["random"]}
    right, wrong = (
        compare("auc_loss", [loss], problems, torch.float32, torch.device("cpu"))
        for loss in (auc_loss, wrong_in_float32)
    )
    assert right.loss < 1e-6 and right.update < 1e-6 and right.problems == 1
    assert wrong.loss > 1e-5 and wrong.update > 1e-5


def test_an_error_that_is_not_a_number_counts_as_infinite():
    errors = Errors()
    errors.include(float("nan"), 0.0)
    errors.include(0.0, 1e-3)
    assert errors.loss == float("inf") and errors.update == 1e-3


def test_problems_cover_empty_sides_ties_and_memory_layouts():
    problems = ranking_problems(large=1000)
    values = {kind: set(targets.unique().tolist()) for kind, (_, targets) in problems.items()}
    assert values["random"] == {-1, 0, 1} and values["all ignored"] == {-1}
    assert values["no positives"] == {-1, 0} and values["no negatives"] == {-1, 1}
    assert not problems["not contiguous"][0].is_contiguous()
    scores, _ = problems["ties"]
    assert torch.equal(scores, scores.round()) and len(scores.unique()) < scores.numel() / 10
    assert problems["large"][0].numel() == 1000


@pytest.mark.parametrize("x, power", [(1.0, 1.0), (1023.0, 512.0), (0.3, 0.25)])
def test_power_of_two_below(x, power):
    assert power_of_two_below(x) == power
