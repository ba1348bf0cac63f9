"""Real W&B logs and runs to test the analysis on."""

import atexit
import functools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from PIL import Image

from analysis.reading.runs import Run, make_run
from src.config.command import command_line
from src.config.identity import identity, run_id
from src.config.registry import METHODS
from src.config.validate import resolve
from src.launch.compose import Job
from tests.support.configurations import make_config
from tests.support.programs import run_python

SCRIPT = """
import json, sys
from pathlib import Path
from src.runs.tracking import Tracker

for run in json.load(sys.stdin):
    with Tracker(Path(run["folder"]), "n", run["config"], mode="offline", project="p", entity=None) as tracker:
        for tracker.step, values in run["rows"]:
            tracker.log(values)
"""
EPOCHS, STEPS = 2, 10
BOXES = "schedule.box_loss_weight=0"
Rows = list[tuple[int, dict[str, Any]]]


@functools.cache
def _composed(overrides: tuple[str, ...]) -> str:
    return json.dumps(_as_logged(make_config(*overrides), overrides))


def _as_logged(config: DictConfig, overrides: tuple[str, ...]) -> dict[str, Any]:
    composed = resolve(config, overrides, command_line("src.run", overrides))
    logged: Any = OmegaConf.to_container(composed)
    return logged | {"run_id": run_id(composed), "identity": identity(composed)}


def config_of(*overrides: str, **changes: Any) -> dict[str, Any]:
    """Return a run's configuration as it is logged, also for values that conf/ does not have yet.

    Args:
        changes: by key, values that are added to the configuration, the identity and the command.
    """
    return _with_place(json.loads(_composed(overrides)), changes)


def config_of_job(job: Job) -> dict[str, Any]:
    """Return the configuration of a run of a sweep as it is logged."""
    overrides = tuple(sorted(word for word in job.overrides if not word.startswith("sweeps=")))
    return _with_place(_as_logged(job.config, overrides), {})


def _with_place(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Add where and on what a run was made."""
    environment = {"device": "x86_64 CPU", "threads": 2, "git_commit": "0" * 40, "git_dirty": False, "host": "here"}
    if config["dataset"]["format"] == "shapes":
        config["dataset"]["root"] = "shapes"
    config |= {"environment": environment, "data": {"fingerprint": "f" * 16, "train": 9, "test": 3}, "anchors": 32736}
    changed(config, changes)
    return config


def changed(config: dict[str, Any], changes: dict[str, Any]) -> None:
    """Change values of a logged configuration, also where it states what the run is and what makes it."""
    words = []
    for key, value in changes.items():
        _set(config, key, value)
        if not key.startswith(("data.", "environment.")):
            _set(config["identity"], key, value)
            words.append(f"{key.removesuffix('.name')}={value}")
    config["command"] = config["command"] | {"canonical": " ".join([config["command"]["canonical"], *words])}


def _set(config: dict[str, Any], key: str, value: Any) -> None:
    *groups, last = key.split(".")
    for group in groups:
        config = config.setdefault(group, {})
    config[last] = value


def rows_of(ap: float, **others: float) -> Rows:
    """Return two epochs of ten steps, with an AP of half of `ap` after the first and of `ap` after the second."""
    rows = []
    for step in range(1, EPOCHS * STEPS + 1):
        values = {
            "loss": 1 / step,
            "loss_seconds": 0.01,
            "iteration_seconds": 0.1,
            "peak_memory": 1024.0 + step,
            "epoch": (step - 1) // STEPS,
            "ap_loss": 1 - step / 40,
        }
        rows.append((step, values | others))
        if step % STEPS == 0:
            reached = ap * step / (EPOCHS * STEPS)
            rows.append((step, {"AP": reached, "AP50": 2 * reached, "AP75": reached / 2}))
    counts = [[0] * 50 for _ in range(50)]
    counts[0][10], counts[5][40], counts[30][45] = 1000, 7, 20
    return [*rows, (EPOCHS * STEPS, {"anchor_scores": counts})]


@functools.cache
def _gallery_picture() -> str:
    """Return the path of a picture of two images of 32 × 24 pixels, red and blue, that is removed at the end."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    sheet = Image.new("RGB", (640, 240))
    sheet.paste((255, 0, 0), (0, 0, 32, 24))
    sheet.paste((0, 0, 255), (320, 0, 352, 24))
    sheet.save(Path(folder, "gallery.png"))
    return str(Path(folder, "gallery.png"))


def gallery_values(score: float = 0.9) -> dict[str, Any]:
    """Return what a run logs of two test images: an object and a detection on the first, an object on the second."""
    images = [
        {"id": "red", "size": [320, 240], "cell": [0, 0, 32, 24], "objects": [["cat", 10.0, 20.0, 110.0, 220.0]]},
        {"id": "blue", "size": [64, 48], "cell": [320, 0, 32, 24], "objects": [["$dog$", 0.0, 0.0, 64.0, 48.0]]},
    ]
    images[0]["detections"], images[1]["detections"] = [["cat", score, 12.0, 20.0, 112.0, 222.0]], []
    chosen = {"gallery_threshold": 0.25, "gallery_f1": 61.2, "gallery_threshold_images": 292}
    return {"gallery": images, "gallery_picture": {"_type": "image-file", "path": _gallery_picture()}, **chosen}


def run_of(config: dict[str, Any], rows: Rows, state: str = "finished") -> Run:
    """Return a run as it would be read from its log."""
    steps = [{"global_step": step, **values} for step, values in rows]
    return make_run(config["run_id"], config, steps, state, "" if state == "finished" else "its log has no end")


def log_runs(outputs: Path, runs: list[tuple[dict[str, Any], Rows]]) -> None:
    """Log runs, of a configuration and rows each, as the project does, in a separate process."""
    jobs = []
    for config, rows in runs:
        folder = outputs / config["run_id"]
        folder.mkdir(parents=True, exist_ok=True)
        jobs.append({"folder": str(folder), "config": config, "rows": rows})
    run_python(["-c", SCRIPT], input=json.dumps(jobs), check=True)


def named(run_id: str, *overrides: str, **changes: Any) -> dict[str, Any]:
    """Return a configuration with a given id, for runs with values that conf/ does not have yet."""
    return config_of(*overrides, **changes) | {"run_id": run_id}


def every_kind_of_run() -> list[tuple[dict[str, Any], Rows]]:
    """Return losses at two batch sizes, a run without a loss, methods, proposals, SSD, and perturbed images."""
    logged = []
    for number, loss in enumerate(("ap", "focal", "auc", "ohem")):
        for seed in (0, 1):
            words = [f"loss={loss}", f"seed={seed}"]
            logged.append((config_of(*words), rows_of(30.0 - number + seed)))
            ssd = named(f"ssd-{loss}-{seed}", *words, "recipe=voc", "dataset.root=VOC", **{"model.name": "ssd"})
            logged.append((ssd, rows_of(40.0 - number + seed)))
        small = rows_of(20.0, loss_seconds=0.005, peak_memory=512.0)
        logged.append((config_of(f"loss={loss}", "batch_size=4"), small))
        attacked = named(f"black-{loss}", f"loss={loss}", **{"attack.name": "black_patch"})
        logged.append((attacked, [(20, {"AP50": 50.0 - number, "patches/covered": 12.5})]))
        fooled = named(f"deepfool-{loss}", f"loss={loss}", **{"attack.name": "deepfool"})
        logged.append((fooled, [(20, {"minimal_perturbation": 15.0 + number})]))
    logged.append((named("none", **{"loss.name": "none"}), rows_of(0.0, peak_memory=900.0)))
    for number, method in enumerate(METHODS):
        logged.append((config_of(f"method={method}", BOXES), rows_of(1.0)))
        for proposals in (2000, 8000):
            config = named(f"{method}-{proposals}", f"method={method}", BOXES, proposals=proposals)
            end = 0.2 + number / 10 + proposals / 100_000
            if proposals == 8000 and method == "approximate_gradient":
                warm = named("warm", f"method={method}", BOXES, proposals=proposals, snapshot="a-run")
                logged.append((warm, rows_of(1.0, ap_loss=end)))
                end = 0.97
            rows = rows_of(1.0, ap_loss=end)
            rows[0][1]["ap_loss"] = 1.0
            logged.append((config, rows))
    return logged
