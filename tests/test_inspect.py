"""`python -m src.inspect`: what it prints, and the files it leaves."""

import csv
import sys
from xml.sax.saxutils import escape

import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

import src.inspect
from src.config.validate import resolve
from src.data.records import DataError
from src.data.transforms import IMAGENET
from src.detectors.detector import build_detector
from src.training.data import build_data
from src.training.inspection_report import training_samples
from src.utils.distributed import World
from tests.data.voc_folder import add_image, add_list, object_xml
from tests.support.configurations import make_config
from tests.support.programs import run_python


def config_of(root, outputs, *words):
    words = ["recipe=folder", f"dataset.root={root}", f"outputs={outputs}", "workers=0", *words]
    return resolve(make_config(*words), words)


@pytest.mark.slow
def test_a_good_folder_is_described_and_drawn(tiny_data, tmp_path, capsys):
    src.inspect.inspect(config_of(tiny_data, tmp_path, "batch_size=4"))
    printed = capsys.readouterr().out
    assert "train: trainval\n  13 images, 0 of them without objects\n" in printed
    assert "by size at 128 × 128 pixels: " in printed and "have an anchor of IoU ≥ 0.5" in printed
    assert "each epoch: 3 steps of 4 images; 1 image left out, different in each epoch" in printed
    picture = tmp_path / "inspect" / "tiny.png"
    assert f"12 training samples as the network gets them: {picture}" in printed
    assert Image.open(picture).width == 1760
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["tiny.csv", "tiny.png"]


@pytest.mark.slow
def test_samples_are_those_that_the_run_trains_on(tiny_data, tmp_path):
    config = config_of(tiny_data, tmp_path, "batch_size=4", "dataset.augmentation=ssd", "seed=3")
    detector = build_detector(config.model, config.dataset.train_size)
    data = build_data(config, detector.normalisation, World())
    samples = list(training_samples(detector, data, config.dataset.train_size))
    batches = list(data.training_batches(epoch=0))
    assert [len(batch.boxes) for batch in batches] == [4, 4, 4] and len(samples) == 12
    images = torch.cat([batch.images for batch in batches])
    for sample, image, boxes in zip(samples, images, [b for batch in batches for b in batch.boxes], strict=True):
        assert torch.equal(sample.boxes, boxes) and len(sample.anchors) >= (len(boxes) > 0)
        normalised = v2.functional.normalize(sample.image / 255, IMAGENET.mean, IMAGENET.std)
        torch.testing.assert_close(normalised, image.clamp(normalised.min(), normalised.max()), rtol=0, atol=0.02)


def odd_folder(root):
    for number in range(4):
        add_image(root, f"t{number}", object_xml("ca$$h"))
        add_image(root, f"v{number}", object_xml("ca$$h"), object_xml(escape("two\nlines|`<b>"), (1, 1, 100, 80)))
    add_list(root, "trainval", *(f"t{number}" for number in range(4)))
    add_list(root, "test", *(f"v{number}" for number in range(4)))
    noise = torch.randint(0, 255, (4, 80, 100, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    Image.fromarray(noise[0].numpy()).save(root / "JPEGImages/t0.jpg")
    Image.fromarray((noise[1] // 40).numpy()).save(root / "JPEGImages/t1.jpg", quality=95)
    Image.fromarray(noise[2].numpy()).save(root / "JPEGImages/t2.jpg")
    for name in ("t3", "v0"):
        Image.fromarray(noise[3].numpy()).save(root / f"JPEGImages/{name}.jpg")
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down: as wide and as high as before
    Image.fromarray(noise[2].numpy()).save(root / "JPEGImages/v1.jpg", exif=exif)
    return root


@pytest.mark.slow
def test_what_is_odd_is_named_by_file(tmp_path, capsys):
    config = config_of(odd_folder(tmp_path / "odd"), tmp_path, "dataset.name='ca$$h / <b>'")
    src.inspect.inspect(config)
    printed = capsys.readouterr().out
    assert "odd: very dark images, with a mean below 8 of 255: 1, in t1.jpg" in printed
    assert "odd: images with an EXIF orientation, which viewers turn: 1, in v1.jpg" in printed
    assert "odd: images of one colour: 2, in v2.jpg, v3.jpg" in printed
    assert "odd: test images whose file is that of a training image: 1, in v0.jpg = t3.jpg" in printed
    assert "odd: boxes that cover the whole image: 4, in v0.jpg, v1.jpg, v2.jpg, … (4 in all)" in printed
    assert "warning: batch_size=8, but only 4 training images" in printed
    assert "without a training object" in printed and "two lines|`<b>" in printed
    with open(tmp_path / "inspect" / "ca_h_b_.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows if "EXIF" in row["what"]] == ["v1.jpg"]
    assert (tmp_path / "inspect" / "ca_h_b_.png").exists()


@pytest.mark.slow
def test_what_a_run_would_refuse_is_refused_after_all_is_printed(tmp_path, capsys):
    root = odd_folder(tmp_path / "odd")
    (root / "JPEGImages/v2.jpg").write_bytes((root / "JPEGImages/v0.jpg").read_bytes()[:500])
    config = config_of(root, tmp_path)
    with pytest.raises(DataError, match=r"1 image cannot be read, and would stop a run. First: .*v2.jpg"):
        src.inspect.inspect(config)
    assert "odd: images that cannot be read: 1, in v2.jpg" in capsys.readouterr().out
    for file in (root / "Annotations").glob("v*.xml"):
        file.write_text(file.read_text().replace("<difficult>0", "<difficult>1"))
    (root / "JPEGImages/v2.jpg").write_bytes((root / "JPEGImages/v0.jpg").read_bytes())
    with pytest.raises(DataError, match="nothing to find"):
        src.inspect.inspect(config)


@pytest.mark.slow
def test_the_program_takes_the_overrides_of_a_run_and_makes_no_run(tiny_data, tmp_path):
    words = ["recipe=folder", f"dataset.root={tiny_data}", f"outputs={tmp_path / 'outputs'}", "workers=0"]
    done = run_python(["-m", "src.inspect", *words])
    assert done.returncode == 0, done.stderr
    assert "12 training samples" in done.stdout
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["inspect"]


def test_a_sweep_is_refused_and_help_is_its_own(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["inspect", "-m", "seed=0,1"])
    with pytest.raises(SystemExit, match="leave out -m"):
        src.inspect.main()
    monkeypatch.setattr(sys, "argv", ["inspect", "--help"])
    src.inspect.main()
    assert "python -m src.inspect" in capsys.readouterr().out
