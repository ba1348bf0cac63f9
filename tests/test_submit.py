"""Files for evaluation servers, written from finished runs by `python -m src.submit`."""

import json
import shutil

import pytest
from omegaconf import OmegaConf

from src.config.identity import run_id
from src.config.validate import resolve
from src.submit import main, submit
from src.training.retest import change_test, read_finished_run
from src.utils.errors import UserError
from tests.support.configurations import make_config
from tests.support.runs import summary_of


@pytest.mark.slow
def test_a_finished_run_writes_its_file_and_one_of_a_split_without_annotations(finished, tiny_data, tmp_path, capsys):
    path = submit(finished, ["workers=0"], None)
    metrics, printed = summary_of(finished)["metrics"], capsys.readouterr().out
    assert all(f"{key} {metrics[key]:.2f}" in printed for key in ("AP", "AP50", "VOC07_AP50", "VOC12_AP50"))
    assert path == finished / f"comp4_tiny_test_{finished.name}.tar.gz" and "800 detections on 4 images" in printed
    bytes_before = path.read_bytes()

    root = shutil.copytree(tiny_data, tmp_path / "tiny")
    stem = (root / "ImageSets/Main/test.txt").read_text().split()[0]
    (root / "Annotations" / f"{stem}.xml").unlink()
    outputs = ["--outputs", str(finished.parent), "--folder", str(tmp_path)]
    main([finished.name, *outputs, "workers=0", "dataset.format=voc", f"dataset.root={root}"])
    printed = capsys.readouterr().out
    assert "no annotations" in printed and "AP5" not in printed
    assert (tmp_path / path.name).read_bytes() == bytes_before  # the same images, and detections

    root = shutil.copytree(tiny_data, tmp_path / "difficult")
    for file in (root / "Annotations").iterdir():
        file.write_text(file.read_text().replace("<difficult>0", "<difficult>1"))
    main([finished.name, *outputs, "workers=0", f"dataset.root={root}"])
    printed = capsys.readouterr().out
    assert "800 detections" in printed and "difficult or a crowd" in printed and "nan" not in printed

    (finished / "checkpoint.pt").write_bytes(b"damaged")
    with pytest.raises(SystemExit, match="checkpoint.pt cannot be read"):
        main([str(finished), "workers=0"])
    with pytest.raises(SystemExit, match="nowhere is no folder"):  # before anything is tested
        main([str(finished), "--folder", str(tmp_path / "nowhere"), "workers=0"])
    (finished / "summary.json").unlink()
    with pytest.raises(SystemExit, match="finish the run first"):
        main([str(finished)])


def test_only_options_of_the_test_can_be_changed():
    config = resolve(make_config())
    changed = change_test(config, ["test.scales=[96,128]", "dataset.test=val", "batch_size=2"])
    assert changed.test.scales == [96, 128] and changed.dataset.test == "val" and changed.batch_size == 2
    assert changed.dataset.train == config.dataset.train and changed.loss == config.loss
    for word, named in (
        ("loss=focal", "loss: not an option of a test"),
        ("dataset.test", "dataset.test: not"),
        ("model.candidates_per_class=3", "not an option of this run's retinanet"),
        ("test.scales=[0]", "test.scales"),
        ("batch_size=0", "batch_size=0"),
        ("test.scales=[400", r"test.scales=\[400: not a value that can be read"),
        ("dataset.test=010", "dataset.test=010: 010 is read as 8"),
    ):
        with pytest.raises(UserError, match=named):
            change_test(config, [word])


def test_a_test_of_a_warm_started_run_does_not_look_for_its_snapshot(tmp_path):
    config = resolve(make_config())
    config.snapshot, config.outputs = "0123456789", str(tmp_path)  # where that run has been deleted
    assert change_test(config, ["batch_size=2"]).snapshot == "0123456789"


def test_a_run_that_is_missing_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere is missing"):
        read_finished_run(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no configuration of a detector's run"),
        ("problem: {name: random}\n", "no configuration of a detector's run"),
        ("model: [ssd\n", "cannot be read: while parsing a flow sequence"),
        ("\0", "cannot be read: unacceptable character"),
        (None, "is gone"),
    ],
)
def test_a_run_whose_configuration_is_of_no_detector_or_damaged_is_named_with_its_file(content, message, tmp_path):
    if content is not None:
        (tmp_path / "config.yaml").write_text(content)
    (tmp_path / "summary.json").write_text(json.dumps({"metrics": {}, "data": {"classes": ["cat"]}}))
    with pytest.raises(UserError, match=f"{tmp_path}/config.yaml .*{message}"):
        read_finished_run(tmp_path)


@pytest.mark.parametrize("attack", ["black_patch", "patch_making"])
def test_a_run_of_an_attack_has_no_weights_and_its_detector_s_run_is_named(attack, tmp_path):
    config = resolve(make_config(f"attack={attack}", "seed=7"))
    directory = tmp_path / run_id(config)
    directory.mkdir()
    OmegaConf.save(config, directory / "config.yaml")
    (directory / "summary.json").write_text(json.dumps({"metrics": {}, "data": {"classes": ["cat"]}}))
    message = f"{directory.name} is a run of attack={attack}, .* the attacked detector, {run_id(make_config('seed=7'))}"
    with pytest.raises(UserError, match=message):
        read_finished_run(directory)
    with pytest.raises(UserError, match=message):
        resolve(make_config(f"snapshot='{directory.name}'", f"outputs={tmp_path}"))


def test_a_run_without_classes_has_nothing_for_a_server(tmp_path):
    OmegaConf.save(resolve(make_config("dataset.classes_as_one=true")), tmp_path / "config.yaml")
    (tmp_path / "summary.json").write_text(json.dumps({"metrics": {}, "data": {"classes": ["object"]}}))
    with pytest.raises(UserError, match="classes_as_one=true: its detections have no classes"):
        submit(tmp_path, [], None)


@pytest.mark.parametrize("summary", [{}, {"data": None}, {"data": {}}])
def test_a_summary_without_the_classes_is_named(summary, tmp_path):
    OmegaConf.save(resolve(make_config()), tmp_path / "config.yaml")
    (tmp_path / "summary.json").write_text(json.dumps({"metrics": {}} | summary))
    with pytest.raises(UserError, match=f"{tmp_path}/summary.json does not name the classes"):
        read_finished_run(tmp_path)
