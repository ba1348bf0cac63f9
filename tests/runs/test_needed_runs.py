"""Runs that need other runs: what these are, that each is made once and first, and what becomes of failures."""

import json
import logging
import re
import shutil
import threading
import time

import pytest
import torch

from src.config.identity import identity, run_id
from src.config.needs import needed_runs
from src.config.validate import resolve
from src.runs import needed as waiting
from src.runs.run_lock import acquire
from src.runs.state import State, state
from src.training.patch_making import read_patch
from src.utils.errors import UserError
from tests.support.configurations import compose_sweep, make_config
from tests.support.programs import call_run
from tests.support.runs import NOT_LOGGED, leave_finished, run_folders, run_here, same_weights, summary_of, weights

NOISE = "attack=gaussian_noise"
WARM = "snapshot=schedule.epochs:1 schedule.learning_rate:0.001"


def id_of(*overrides):
    return run_id(make_config(*overrides))


@pytest.mark.slow
def test_an_attack_needs_the_same_run_without_it():
    config = resolve(make_config("loss=auc", NOISE, "attack.standard_deviation=0.2"), ["loss=auc", NOISE])
    (needed,) = needed_runs(config)
    assert needed.key == "attack" and run_id(needed.config) == id_of("loss=auc")
    assert needed.overrides == ["recipe=mini", "loss=auc"]
    ids = {id_of("loss=auc"), id_of("loss=auc", NOISE), id_of("loss=auc", NOISE, "attack.standard_deviation=0.2")}
    assert len(ids) == 3 and id_of("loss=auc", "attack=none") in ids


@pytest.mark.slow
def test_a_snapshot_is_the_run_that_differs_as_it_says_and_the_same_under_its_id(tmp_path):
    changed = ["schedule.epochs=3", "schedule.clip_gradient=10"]
    config = make_config("delta=2", "snapshot=schedule.epochs:3 schedule.clip_gradient:10")
    (needed,) = needed_runs(resolve(config, ["delta=2"]))
    assert run_id(needed.config) == id_of("delta=2", *changed) == identity(config)["snapshot"]
    assert set(changed) < {word.replace("10.0", "10") for word in needed.overrides}
    by_id = make_config("delta=2", f"snapshot='{run_id(needed.config)}'", f"outputs={tmp_path}")
    assert run_id(by_id) == run_id(config) == run_id(resolve(config)) != id_of("delta=2")
    # An attack needs the warm-started run, and this the snapshot.
    attacked = make_config("delta=2", "snapshot=schedule.epochs:3 schedule.clip_gradient:10", NOISE)
    assert [run_id(one.config) for one in needed_runs(resolve(attacked))] == [run_id(config)]


@pytest.mark.slow
def test_an_adversarial_patch_is_one_run_for_all_losses_unless_it_is_made_against_the_detector_itself():
    attack, other = ["attack=adversarial_patch", "attack.steps=7"], ["step=heaviside", "seed=4"]

    def patch_of(*overrides):
        needed = {one.key: one for one in needed_runs(resolve(make_config(*overrides), overrides))}
        assert run_id(needed["attack"].config) == id_of(*(word for word in overrides if not word.startswith("attack")))
        assert run_id(make_config(*needed["patch"].overrides)) == run_id(needed["patch"].config)
        return needed["patch"]

    patches = [patch_of(f"loss={loss}", "seed=3", *attack) for loss in ("ohem", "ap")]
    assert {run_id(patch.config) for patch in patches} == {id_of(*other, "attack=patch_making", "attack.steps=7")}
    (detector,) = needed_runs(patches[0].config, patches[0].overrides)
    assert run_id(detector.config) == id_of(*other) and detector.overrides == ["recipe=mini", *other]
    white_box = patch_of("loss=ohem", *attack, "attack.against=itself")
    assert run_id(white_box.config) == id_of("loss=ohem", "attack=patch_making", "attack.steps=7")


@pytest.mark.parametrize(
    ("snapshot", "message"),
    [
        ("loss:focal", "loss is a group. Name a run .* by the run's id"),
        ("loss.name:focal", "loss=focal a recipe may have other values .* Name a run .* by the run's id"),
        ("loss.name:auc", "loss=auc a recipe may have other values"),
        ("method.name:approximate_gradient", "method=approximate_gradient has other options"),
        ("model.name:ssd", "model=ssd has other options"),
        ("attack.name:black_patch", "attack=black_patch has other options"),
        ("method.name:nothing", "method.name=nothing: no such method"),
        ("schedule.epochs:many", "schedule.epochs: Value 'many' .* could not be converted"),
        ("schedule.epoch:1", "Key 'epoch' not in 'Schedule'"),
        ("schedule.epochs:0", "schedule.epochs=0 must be greater than 0"),
        ("workers:3", "workers changes no number of a run"),
        ("wandb.mode:online", "wandb.mode changes no number of a run"),
        ("schedule.epochs:27", "is this run itself without a snapshot"),
        ("abcdefabcd", "there is no .*/abcdefabcd/config.yaml. Start that run first"),
        ("epochs", "epochs is neither KEY:VALUE nor the id of a run"),
    ],
)
def test_a_snapshot_that_names_no_other_run_is_an_error(snapshot, message, tmp_path):
    with pytest.raises(UserError, match=message):
        resolve(make_config(f"snapshot={snapshot}", f"outputs={tmp_path}"))


def test_the_overrides_that_make_a_snapshot_keep_its_texts():
    config = make_config("""snapshot='dataset.test:café dataset.train:"no" dataset.classes:["a,b",c]'""")
    (needed,) = needed_runs(resolve(config), [])
    assert needed.config["dataset"]["classes"] == ["a,b", "c"] and needed.config["dataset"]["train"] == "no"
    assert run_id(make_config(*needed.overrides)) == run_id(needed.config)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"loss: \xff", "abcdefabcd/config.yaml cannot be read: 'utf-8' codec"),
        (b"loss: {", "abcdefabcd/config.yaml cannot be read: "),
        (b"", "abcdefabcd/config.yaml is no configuration of a detector's run"),
        (b"loss: {name: ap}", "abcdefabcd/config.yaml is no configuration of a detector's run"),
        (b"[1, 2]", "abcdefabcd/config.yaml is no configuration of a detector's run"),
    ],
)
def test_a_snapshot_whose_configuration_is_damaged_is_named(content, message, tmp_path):
    (tmp_path / "abcdefabcd").mkdir()
    (tmp_path / "abcdefabcd/config.yaml").write_bytes(content)
    with pytest.raises(UserError, match=message):
        resolve(make_config("snapshot=abcdefabcd", f"outputs={tmp_path}"))


@pytest.mark.slow
def test_in_a_sweep_needed_runs_come_first_and_once_and_are_added_if_they_are_missing():
    _, combinations, jobs = compose_sweep("loss=focal,auc", "attack=gaussian_noise,none")
    assert combinations == len(jobs) == 4 and all(job.is_asked_for for job in jobs)
    places = {job.directory: place for place, job in enumerate(jobs)}
    attacks = [job for job in jobs if job.needs]
    assert len(attacks) == 2 and all(places[job.directory] > places[job.needs[0]] for job in attacks)
    _, combinations, jobs = compose_sweep(NOISE, "attack.standard_deviation=0.1,0.2", "loss=focal", WARM)
    assert combinations == 2 and [job.is_asked_for for job in jobs] == [False, False, True, True]
    snapshot, trained, *attacks = jobs
    assert trained.needs == (snapshot.directory,) and all(job.needs == (trained.directory,) for job in attacks)
    for job in jobs:  # the overrides alone make the same run
        assert run_id(make_config(*job.overrides)) == job.directory.name


@pytest.mark.slow
def test_an_attack_finishes_the_training_that_it_needs_and_takes_its_weights(tiny, tmp_path, finished, undisturbed):
    trained = finished
    (trained / "summary.json").unlink()  # interrupted
    attack = run_here(*tiny, NOISE, *NOT_LOGGED)
    assert len(summary_of(trained)["attempts"]) == len(summary_of(undisturbed())["attempts"]) + 1
    assert sorted(run_folders(tmp_path / "outputs")) == sorted([attack, trained])
    assert same_weights(trained, undisturbed()) and not (attack / "checkpoint.pt").exists()
    before, summary = (trained / "checkpoint.pt").stat().st_mtime_ns, summary_of(attack)
    assert (
        summary["needs"] == {"attack": trained.name}
        and summary["metrics"].keys() == summary_of(trained)["metrics"].keys()
    )
    # Interrupted and asked again, with another number of workers.
    (attack / "summary.json").unlink()
    run_here(*tiny, NOISE, *NOT_LOGGED, "workers=1")
    assert summary_of(attack)["metrics"] == summary["metrics"]
    assert (trained / "checkpoint.pt").stat().st_mtime_ns == before
    # A patch is made by a run of its own, with the same detector.
    patched = run_here(*tiny, "attack=adversarial_patch", "attack.against=itself", "attack.steps=3", *NOT_LOGGED)
    making = tmp_path / "outputs" / summary_of(patched)["needs"]["patch"]
    assert summary_of(making)["needs"] == {"attack": trained.name}
    assert summary_of(patched)["needs"] == {"attack": trained.name, "patch": making.name}
    patch = read_patch(making)
    assert patch.shape == (3, 64, 64) and patch.float().std() > 10
    for name in ("summary.json", "patch.png"):  # interrupted just before its end
        (making / name).unlink()
    run_here(*tiny, "attack=patch_making", "attack.steps=3", *NOT_LOGGED)
    assert torch.equal(read_patch(making), patch)
    assert (trained / "checkpoint.pt").stat().st_mtime_ns == before
    (trained / "checkpoint.pt").unlink()
    with pytest.raises(UserError, match=r"has finished, but its weights, checkpoint\.pt, are gone: delete"):
        run_here(*tiny, NOISE, *NOT_LOGGED, "attack.standard_deviation=0.2")


@pytest.mark.slow
def test_the_usual_patch_is_made_with_another_seeds_detector_alone_and_attacks_this_one(
    tiny, tmp_path, undisturbed, caplog
):
    outputs, other = tmp_path / "outputs", undisturbed("step=heaviside", "seed=1")
    shutil.copytree(other, outputs / other.name)
    with caplog.at_level(logging.INFO):
        making = run_here(*tiny, "step=heaviside", "seed=1", "attack=patch_making", "attack.steps=2", *NOT_LOGGED)
    assert re.search(r"patch_loss -?\d+\.\d on trainval of tiny", caplog.text)  # the images that it is made on
    assert summary_of(making)["needs"] == {"attack": other.name} and len(run_folders(outputs)) == 2
    (outputs / other.name / "checkpoint.pt").unlink()
    shutil.copytree(undisturbed(), outputs / undisturbed().name)
    patched = run_here(*tiny, "attack=adversarial_patch", "attack.steps=2", *NOT_LOGGED)
    assert summary_of(patched)["needs"] == {"attack": undisturbed().name, "patch": making.name}
    assert 0 < summary_of(patched)["metrics"]["patches/covered"] < 50 and len(run_folders(outputs)) == 4


@pytest.mark.slow
def test_a_warm_start_takes_the_weights_alone(tiny, tmp_path, undisturbed):
    directory = run_here(*tiny, WARM, "schedule.learning_rate=1e-12", "schedule.epochs=1", *NOT_LOGGED)
    snapshot = undisturbed("schedule.epochs=1", "schedule.learning_rate=0.001")
    assert summary_of(directory)["needs"] == {"snapshot": snapshot.name}
    cold, warm, start = weights(undisturbed()), weights(directory), weights(tmp_path / "outputs" / snapshot.name)
    for key, value in start.items():  # but for a step of no length
        if value.is_floating_point() and "running" not in key:
            assert torch.allclose(warm[key], value, atol=1e-6), key
    assert any(not torch.allclose(cold[key], warm[key], atol=1e-6) for key in cold if cold[key].is_floating_point())


def fail(directory, error):
    directory.mkdir(parents=True, exist_ok=True)
    note = {"error": error, "time": time.time(), "traceback": ""}
    (directory / "failed.json").write_text(json.dumps(note))


@pytest.mark.slow
def test_a_run_that_needs_a_failed_one_fails_with_a_line_that_names_it(tiny, tmp_path):
    needed = tmp_path / "outputs" / id_of(*tiny)
    fail(needed, "no luck")
    with pytest.raises(
        UserError, match=rf"gaussian_noise .* needs .*{needed.name}.* has failed: .*no luck.*retry=true"
    ):
        run_here(*tiny, NOISE, *NOT_LOGGED)
    assert state(tmp_path / "outputs" / id_of(*tiny, NOISE)) == State.MISSING


def test_a_run_waits_for_the_process_that_works_on_what_it_needs(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(waiting, "LOOK_EVERY_S", 0.05)
    caplog.set_level("INFO")
    lock = acquire(tmp_path)
    seen = []

    def finish():
        seen.append(state(tmp_path))
        leave_finished(tmp_path)
        lock.release()

    threading.Timer(0.3, finish).start()
    waiting.wait_while_worked_on(tmp_path)
    assert seen == [State.RUNNING] and state(tmp_path) == State.FINISHED
    assert f"Waiting for {tmp_path}, on which process" in caplog.text


@pytest.mark.slow
def test_a_sweep_goes_on_after_a_needed_run_has_failed_and_names_what_it_took_along(tiny, tmp_path, finished):
    usual = resolve(make_config(*tiny)).schedule.learning_rate
    code, output = call_run("-m", *tiny, NOISE, f"schedule.learning_rate=1e18,{usual}", *NOT_LOGGED)
    assert code == 1 and "2 runs, and 2 runs that these need" in output
    assert "error: 2 of 4 runs failed" in output and "which has failed" in output and "Traceback" not in output
    folders = run_folders(tmp_path / "outputs")
    assert len(folders) == 3 and sum(state(folder) == State.FAILED for folder in folders) == 1, output
    (attack,) = (folder for folder in folders if (folder / "summary.json").exists() and folder != finished)
    assert summary_of(attack)["needs"] == {"attack": finished.name}
