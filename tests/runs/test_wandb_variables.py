"""W&B's environment variables do not change what a run is."""

import os

import pytest

from analysis.reading.local import read_local
from src.config.identity import run_id
from src.runs.wandb_variables import OVERRULED, overrule_variables
from tests.support.configurations import make_config
from tests.support.programs import start_run
from tests.support.runs import run_folders

CONFIGURED = {"mode": "offline", "project": "ap-loss", "entity": None}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in OVERRULED:
        monkeypatch.setenv(name, "")  # and is restored
        monkeypatch.delenv(name)
    return monkeypatch.setenv


def test_variables_that_contradict_the_configuration_are_named_in_one_line(environment, tmp_path, caplog):
    environment("WANDB_MODE", "online")
    environment("WANDB_RUN_ID", "other")
    environment("WANDB_SWEEP_ID", "a sweep")
    environment("WANDB_ENTITY", "team")
    environment("WANDB_TAGS", "mine")
    overrule_variables(tmp_path / "12ab", "it", **CONFIGURED)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "WANDB_MODE=online (wandb.mode=offline), WANDB_RUN_ID=other (id=12ab), WANDB_SWEEP_ID=a sweep" in line
    assert not {"WANDB_MODE", "WANDB_RUN_ID", "WANDB_SWEEP_ID"} & os.environ.keys()
    # What the configuration leaves open is W&B's.
    assert os.environ["WANDB_ENTITY"] == "team" and os.environ["WANDB_TAGS"] == "mine"


def test_variables_that_agree_are_not_worth_a_line(environment, tmp_path, caplog):
    environment("WANDB_MODE", "offline")
    environment("WANDB_DISABLED", "false")
    environment("WANDB_PROJECT", "ap-loss")
    environment("WANDB_RESUME", "allow")
    overrule_variables(tmp_path, "it", **CONFIGURED)
    assert not caplog.records


def test_a_configured_entity_counts(environment, tmp_path, caplog):
    environment("WANDB_ENTITY", "other")
    overrule_variables(tmp_path, "it", mode="online", project="p", entity="team")
    assert "WANDB_ENTITY=other (wandb.entity=team)" in caplog.text and "WANDB_ENTITY" not in os.environ


@pytest.mark.slow
def test_a_run_started_by_an_agent_keeps_its_id_folder_and_mode(tiny, tmp_path):
    (tmp_path / "sweep.yaml").write_text("wandb_version: 1\nloss:\n  value: focal\n")
    variables = {
        "WANDB_SWEEP_ID": "abcdef",
        "WANDB_SWEEP_PARAM_PATH": str(tmp_path / "sweep.yaml"),
        "WANDB_CONFIG_PATHS": str(tmp_path / "sweep.yaml"),
        "WANDB_RUN_ID": "other",
        "WANDB_RESUME": "must",
        "WANDB_RESUME_FROM": "other?_step=3",
        "WANDB_FORK_FROM": "other?_step=3",
        "WANDB_MODE": "disabled",
        "WANDB_DISABLED": "true",
        "WANDB_DIR": str(tmp_path / "elsewhere"),
        "WANDB_USE_DOT_WANDB": "true",
        "WANDB_NAME": "other",
        "WANDB_SERVICE": "3-1-unix-/a/service/that/has/ended",
        "WANDB_PROJECT": "other",
        "WANDB_TAGS": "mine,too",
        "WANDB_RUN_GROUP": "us",
    }
    command = [*tiny, "schedule.epochs=1", "images_logged=0"]
    process = start_run(*command, **variables)
    output, _ = process.communicate()
    assert process.returncode == 0 and output.count("have no effect") == 1, output
    (directory,) = run_folders(tmp_path / "outputs")
    (logged,) = read_local(tmp_path / "outputs").all
    assert directory.name == logged.run_id == run_id(make_config(*command))
    assert logged.finished and logged.config["loss.name"] == "ap" and logged.history["global_step"].max() == 3
    assert [file.parts[-4:-2] for file in tmp_path.rglob("*.wandb")] == [(directory.name, "wandb")]
