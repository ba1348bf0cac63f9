import json

import torch

from src.robustness.deepfool import DeepFoolResult, Perturbation
from src.robustness.deepfool_images import summarise
from src.training.deepfool import _from_plain, _to_plain, _why_none
from src.utils.files import write_json


def test_results_that_were_kept_come_to_the_same_summary(tmp_path):
    nan = float("nan")
    found = Perturbation((0,), 1.5, 3, torch.zeros(3, 4, 4), 12.0, 1.7, 0.01)
    failed = Perturbation((1,), 2.5, 50, None, nan, nan, nan)
    results = [
        DeepFoolResult((4, 4), [found, failed], failed),
        DeepFoolResult((4, 4), [found], found),
        DeepFoolResult((4, 4), [], None),
    ]
    write_json(tmp_path / "kept.json", [_to_plain(one) for one in results])
    kept = [_from_plain(one) for one in json.loads((tmp_path / "kept.json").read_text())]
    assert repr(summarise(kept)) == repr(summarise(results))
    assert summarise(kept)["failures"] == 1 and summarise(kept)["images_changed"] == 2


def test_a_mean_over_no_image_is_explained():
    nan = float("nan")
    failed = Perturbation((1,), 2.5, 50, None, nan, nan, nan)
    undetected, fooled_by_none = DeepFoolResult((4, 4), [], None), DeepFoolResult((4, 4), [failed], failed)
    why = "no object in 2 images is detected with a score of 0.25 or more"
    assert _why_none(summarise([undetected] * 2), 0.25, 3) == f"{why}; raise attack.images"
    assert _why_none(summarise([undetected] * 2), 0.25, 2) == f"{why}; the detector needs more training"
    assert _why_none(summarise([undetected, fooled_by_none]), 0.25, 3) == (
        "none of 1 object detected in 2 images is lost within the iterations; raise attack.iterations"
    )
