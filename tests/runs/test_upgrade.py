import json

import pytest

from analysis.reading.local import read_local
from src.data.datasets import read_data
from src.data.fingerprint import fingerprint_of_version_01
from src.runs.wandb_log import read_log, write_log
from tests.support.configurations import make_config
from tests.support.runs import run_here, summary_of

ADDED = ("identity", "command", "by_loss", "attempt", "attempts", "log.")  # what version 0.1 did not log


def as_version_01_left_it(directory):
    """Take from a finished run what later versions log besides."""
    summary = json.loads((directory / "summary.json").read_text())
    (directory / "summary.json").write_text(json.dumps({k: v for k, v in summary.items() if k not in (*ADDED, "log")}))
    (log,) = directory.glob("wandb/offline-run-*/*.wandb")
    records = list(read_log(log, pytest.fail))
    for record in records:
        if record.HasField("run") or record.HasField("config"):
            config = record.run.config if record.HasField("run") else record.config
            kept = [item for item in config.update if (list(item.nested_key) or [item.key])[0] not in ADDED]
            del config.update[:]
            config.update.extend(kept)
    write_log(log, records)


@pytest.mark.slow
def test_a_finished_run_that_lacks_its_identity_logs_it_without_training(tiny, tmp_path):
    directory = run_here(*tiny)
    as_version_01_left_it(directory)
    (before,) = read_local(tmp_path / "outputs").all
    assert before.finished and not any(key.startswith(ADDED) for key in before.config)
    saved = (directory / "checkpoint.pt").stat().st_mtime_ns

    assert run_here(*tiny) == directory
    (logged,) = read_local(tmp_path / "outputs").all
    assert logged.finished and logged.config["identity.loss.name"] == "ap"
    assert logged.config["command.canonical"].startswith("python -m src.run recipe=folder")
    for facts in ("environment", "data"):
        kept = {key: value for key, value in before.config.items() if key.startswith(f"{facts}.")}
        assert kept and kept.items() <= logged.config.items()
    assert logged.values.equals(before.values) and (directory / "checkpoint.pt").stat().st_mtime_ns == saved

    run_here(*tiny)
    assert len(list(directory.glob("wandb/offline-run-*"))) == 2


@pytest.mark.slow
def test_a_finished_run_of_version_01_logs_the_fingerprint_of_all_its_data(tiny, tmp_path):
    directory = run_here(*tiny, "images_logged=0")
    now = json.loads((directory / "data.json").read_text())
    config = make_config(*tiny).dataset
    train, test, _ = read_data("voc", config.root, train=config.train, test=config.test)
    noted = {key: now[key] for key in ("root", "train", "test", "classes")}
    noted["fingerprint"] = fingerprint_of_version_01(train + test)
    (directory / "data.json").write_text(json.dumps(noted))
    summary = summary_of(directory)
    (directory / "summary.json").write_text(json.dumps({**summary, "data": noted}))

    assert run_here(*tiny, "images_logged=0") == directory
    assert json.loads((directory / "data.json").read_text()) == now
    assert {**summary_of(directory), "log": None} == {**summary, "log": None}
    (logged,) = read_local(tmp_path / "outputs").all
    assert logged.finished and logged.config["data.fingerprint"] == now["fingerprint"]
    run_here(*tiny, "images_logged=0")
    assert len(list(directory.glob("wandb/offline-run-*"))) == 2
