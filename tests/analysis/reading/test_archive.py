"""A report's runs, kept beside it, give the same report elsewhere."""

import re
import shutil
import sys

import pytest
from PIL import Image

from analysis.__main__ import archive, build, main, report
from analysis.reading import archive as archives
from analysis.reading.archive import read_archive
from analysis.reading.kept_runs import HISTORIES, RUNS
from analysis.reading.runs import Runs
from src.utils.errors import UserError
from tests.analysis.logged import config_of, gallery_values, log_runs, rows_of, run_of
from tests.analysis.reading.test_cache import bits

pytestmark = pytest.mark.slow
WITH_IMAGES = ["figure5", "figure12"]


def logged_image(path, width=32):
    path.parent.mkdir(exist_ok=True)
    Image.effect_noise((width, 20), 50).save(path)
    return {"_type": "image-file", "path": str(path)}


@pytest.fixture
def runs(tmp_path):
    """Two seeds of two losses with galleries and large pictures, and a run without an end."""
    made = []
    for loss in ("ap", "focal"):
        for seed in (0, 1):
            picture = logged_image(tmp_path / "media" / f"{loss}-{seed}.png", width=1500)
            values = gallery_values() | {"detections": picture}
            values["gallery_picture"] = logged_image(tmp_path / "media" / f"{loss}-{seed}.jpg", width=640)
            made.append(run_of(config_of(f"loss={loss}", f"seed={seed}"), [*rows_of(30.0 + seed), (20, values)]))
    return Runs([*made, run_of(config_of("loss=auc"), rows_of(9.0), "unfinished")], ["broken.wandb is empty; left out"])


@pytest.fixture
def results(runs, tmp_path):
    """An archive of the runs with the images that a report shows."""
    archive(runs, build(WITH_IMAGES, runs), tmp_path / "results")
    return tmp_path / "results"


def without_paths(runs):
    for value in (value for run in runs.all for value in run.objects.values() if isinstance(value, dict)):
        value.pop("path", None)
    return runs


def contents(folder):
    """The report's files, but for the date on its page."""
    files = [file for file in folder.iterdir() if file.is_file()]
    return {file.name: re.sub(rb"<time>[^<]+</time>", b"", file.read_bytes()) for file in files}


def test_an_archive_that_was_moved_gives_the_same_report(runs, tmp_path, monkeypatch, capsys):
    results = tmp_path / "results"
    archive(runs, report([], runs, results), results)
    capsys.readouterr()
    shutil.rmtree(tmp_path / "media")
    moved = results.rename(tmp_path / "elsewhere")
    monkeypatch.setattr(sys, "argv", ["analysis", "--from", str(moved), "--report", str(tmp_path / "report")])
    main()
    assert contents(tmp_path / "report") == contents(moved)
    output = capsys.readouterr().err
    assert "broken.wandb is empty" in output and "its log has no end" in output
    pictures = sorted(file.relative_to(moved / "runs/images").as_posix()[10:] for file in moved.glob("runs/images/*/*"))
    assert pictures == ["/detections.jpg"] * 2 + ["/gallery_picture.jpg"] * 2  # of the seed that the figures show


def test_an_archive_of_an_archive_is_the_same(runs, results, tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.__main__.ARTEFACTS", ["table2", *WITH_IMAGES])
    report([], runs, results)
    shutil.rmtree(tmp_path / "media")
    monkeypatch.setattr(sys, "argv", ["analysis", "--from", str(results), "--archive", str(tmp_path / "again")])
    main()
    assert contents(tmp_path / "again") == contents(results)
    images = [
        sorted(file.relative_to(folder) for file in folder.glob("runs/images/*/*"))
        for folder in (results, tmp_path / "again")
    ]
    assert images[0] == images[1]
    kept = [without_paths(read_archive(folder)) for folder in (results, tmp_path / "again")]
    assert bits(kept[0]) == bits(kept[1])


def test_all_but_the_paths_of_images_is_kept(runs, results):
    kept = read_archive(results)
    assert {run.run_id for run in kept.all if "left_out" in run.objects.get("gallery_picture", {})} == {
        run.run_id for run in runs.all if run.config["seed"] == 1
    }
    for value in (value for run in kept.all for value in run.objects.values() if isinstance(value, dict)):
        value.pop("left_out", None)
    assert bits(without_paths(kept)) == bits(without_paths(runs)) and kept.unreadable == runs.unreadable
    assert len(kept.counting) == 4 and len(read_archive(results, unfinished_too=True).counting) == 5


def test_missing_images_are_named_and_their_runs_are_not_missing(results, caplog):
    shutil.rmtree(results / "runs/images")
    kept = read_archive(results)
    named = [line for line in caplog.messages if "is missing, so no figure shows it" in line]
    assert len(named) == 4 and f"{results}/runs/images/" in named[0] and "gallery_picture.jpg" in " ".join(named)
    for artefact in build(WITH_IMAGES, kept):
        assert not artefact.sections[0].panels and not artefact.sections[0].missing


def test_images_of_runs_that_are_gone_are_removed(runs, results):
    first = Runs(runs.all[:1])
    archive(first, build(WITH_IMAGES, first), results)
    assert len(list(results.glob("runs/images/*/*"))) == 2 and len(read_archive(results).all) == 1


def test_runs_made_since_join_an_archive(runs, results, tmp_path, monkeypatch):
    outputs, auc = tmp_path / "outputs", runs.all[-1]
    log_runs(outputs, [(auc.config, rows_of(9.0))])
    archived = Runs(runs.all, [*runs.unreadable, f"{outputs / auc.run_id} has finished, but its log is not whole"])
    archive(archived, [], results)
    words = ["--from", str(results), "--outputs", str(outputs), "--report", str(tmp_path / "report")]
    monkeypatch.setattr(sys, "argv", ["analysis", *words, "--archive", str(results)])
    monkeypatch.setattr("analysis.__main__.ARTEFACTS", ["table2", "figure12"])
    for _ in range(2):  # and again, as they are in both places then
        main()
        kept = read_archive(results)
        assert [run.run_id for run in kept.counting] == sorted(run.run_id for run in runs.all)
        assert kept.unreadable == runs.unreadable
        assert sum(run.image("detections") is not None for run in kept.all) == 2


def test_of_a_run_in_two_places_the_newer_counts_unless_only_the_older_has_finished():
    old, new = (run_of(config_of(), rows_of(ap)) for ap in (30.0, 31.0))
    unfinished = run_of(config_of(), rows_of(32.0), "unfinished")
    assert Runs([old]).joined(Runs([new])).all == [new]
    assert Runs([old]).joined(Runs([unfinished])).all == [old]
    assert Runs([unfinished]).joined(Runs([new])).all == [new]
    assert Runs([unfinished]).joined(Runs([unfinished])).left_out == [unfinished]


def test_an_archive_that_cannot_be_read_is_refused(results, monkeypatch, tmp_path):
    with pytest.raises(UserError, match="no runs/runs.parquet is there; python -m analysis --archive FOLDER"):
        read_archive(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(archives, "FORMAT", "another")
        with pytest.raises(UserError, match="another version of this analysis"):
            read_archive(results)
    for name in (HISTORIES, RUNS):
        file = results / "runs" / name
        file.write_bytes(file.read_bytes()[:-50])
        with pytest.raises(UserError, match=f"--from {re.escape(str(results))}: .*runs is damaged"):
            read_archive(results)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--wandb", "lab/ap", "--outputs", "outputs"], "exclude each other"),
        (["--archive", "results", "table1"], "leave table1 out"),
    ],
)
def test_options_that_contradict_each_other_are_refused(words, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["analysis", *words])
    with pytest.raises(SystemExit):
        main()
    assert message in capsys.readouterr().err
