"""The pictures of Table 3: one test image under each perturbation, with the detections of two losses."""

import hashlib
from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from analysis.artefacts.artefact import Panel
from analysis.artefacts.galleries import Picture, classes_in, gallery_of, has_gallery, panel, read_image
from analysis.artefacts.style import Axes
from analysis.reading.runs import Run
from analysis.reading.settings import LOSS_TITLES

LOSSES = ("focal", "ap")
PATCH = "patch"  # the key under which a run logs the patch that it has made
NOTE = (
    "The pictures show one test image with the detections of the runs of seed {seed}. Each run has its own score "
    "threshold, chosen as in Fig. 5; for DeepFool, which is made against each detector, it is the one above which an "
    "object counts as detected. Dashed: objects."
)


def gallery_panels(
    groups: Mapping[str, Mapping[str, list[Run]]], titles: Mapping[str, str], runs: list[Run]
) -> tuple[list[Panel], list[str]]:
    """Return two panels for each perturbation, the adversarial patch, and a note; nothing where no image is perturbed.

    Args:
        groups: the runs of each loss by perturbation; the first one is none.
        titles: of the perturbations.
        runs: all of the setting.
    """
    of_seed = {perturbation: _by_seed(by_loss) for perturbation, by_loss in groups.items()}
    first, *others = of_seed
    seeds = sorted(seed for seed in of_seed[first] if any(seed in of_seed[other] for other in others))
    pairs = {name: by_seed[seeds[0]] for name, by_seed in of_seed.items() if seeds and seeds[0] in by_seed}
    pictures = {name: [gallery_of(run) for run in pair] for name, pair in pairs.items()}
    image = _best_image(list(pictures.values()))
    if image is None:
        return [], []
    shown = {name: [one[image] for one in pair] for name, pair in pictures.items() if all(image in one for one in pair)}
    classes = classes_in([picture for pair in shown.values() for picture in pair])
    panels = [
        panel(f"{name.replace('_', '-')}-{loss}", f"{titles[name]}, {LOSS_TITLES[loss]}", picture, classes)
        for name, pair in shown.items()
        for loss, picture in zip(LOSSES, pair, strict=True)
    ]
    patch = _patch_panel(pairs.get("adversarial_patch", []), runs)
    return [*panels, *patch], [NOTE.format(seed=seeds[0])]


def _by_seed(by_loss: Mapping[str, list[Run]]) -> dict[int, list[Run]]:
    """Return by seed the runs of LOSSES, where all of these have logged a gallery."""
    found = [{run.config["seed"]: run for run in by_loss[loss] if has_gallery(run)} for loss in LOSSES]
    return {seed: [of_loss[seed] for of_loss in found] for seed in found[0] if all(seed in one for one in found)}


def _best_image(pictures: list[list[dict[str, Picture]]]) -> str | None:
    """Return the image that most pairs of galleries have, and of several the first on which all losses detect anything.

    Args:
        pictures: pairs of galleries, that of the clean images first.
    """
    pairs = [set.intersection(*(set(gallery) for gallery in pair)) for pair in pictures]
    names = [name for name in pictures[0][0] if name in pairs[0]] if pairs else []
    counts = {name: sum(name in pair for pair in pairs) for name in names}
    most = [name for name in names if counts[name] == max(counts.values()) > 1]
    good = [name for name in most if all((gallery[name].boxes.kind == "detection").any() for gallery in pictures[0])]
    return next(iter(good or most), None)


def _patch_panel(pair: list[Run], runs: list[Run]) -> list[Panel]:
    """Return a panel of the patch that runs under attack by one have pasted, if its picture is there."""
    makers = {run.config.get("needs.patch") for run in pair}
    pictures = [(run, read_image(run, PATCH)) for run in runs if run.run_id in makers]
    return [
        Panel(
            f"patch-{number}",
            f"The adversarial patch of run {run.run_id}",
            partial(_draw, pixels),
            pd.DataFrame({"patch": [run.run_id], "pixels": [hashlib.sha256(pixels.tobytes()).hexdigest()[:16]]}),
            f"The patch, {pixels.shape[1]} × {pixels.shape[0]} pixels.",
            (run.run_id, PATCH),
        )
        for number, (run, pixels) in enumerate(pictures)
        if pixels is not None
    ]


def _draw(pixels: np.ndarray, ax: Axes) -> None:
    ax.imshow(pixels)
    ax.set_axis_off()
