"""Table 3: how robust the detectors trained with each loss are to perturbed images and attacks."""

import math
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from analysis.artefacts.artefact import Absent, Artefact, Cell, Measured, Missing, Section, Table
from analysis.artefacts.perturbation_gallery import gallery_panels
from analysis.artefacts.statistics import estimate
from analysis.artefacts.table_cells import (
    NOT_PUBLISHED,
    by_seed,
    compares,
    difference_cells,
    measured,
    missing_losses,
    ours_and_paper_cells,
    published,
    run_ids_of,
    sections_by_setting,
)
from analysis.paper.published import published_table
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import PAPER_LOSSES, Setting
from src.config.registry import ATTACKS

TITLE = "Table 3: robustness"
CAPTION = (
    "AP50 in percent on perturbed test images. For DeepFool, the mean of the smallest changes that succeed, as L2 "
    "norms in grey levels: the larger, the more robust; the paper states no unit. Rows and columns are swapped with "
    "respect to the paper. The last columns give by how much AP-loss is ahead of focal loss, here and in the paper, "
    "and ours minus the paper's. The paper's numbers are those of RetinaNet on VOC2007 test. Options that a "
    "perturbation was given stand after its name. The other tables show what each perturbation costs, seed by seed."
)
PERTURBATIONS = {
    "original" if name == "none" else name: attack.title for name, attack in ATTACKS.items() if name != "patch_making"
}


def build(runs: Runs) -> Artefact:
    """Build Table 3 for each setting with RetinaNet that has a run of it."""
    sections = sections_by_setting(runs, _section, "retinanet".__eq__)
    return Artefact("table3", TITLE, CAPTION, sections, panels_per_row=4)


def metric(perturbation: str) -> str:
    """Return the key under which a perturbation's number is logged."""
    return "minimal_perturbation" if perturbation.split()[0] == "deepfool" else "AP50"


def runs_of(setting: Setting, loss: str, perturbation: str) -> list[Run]:
    """Return the runs that tested a loss's detector on images perturbed in this way, by the options of most runs."""
    return _with_options(
        setting, loss, perturbation if perturbation == "original" else setting.attacks(perturbation)[0]
    )


def _with_options(setting: Setting, loss: str, perturbation: str) -> list[Run]:
    """Return the runs of a perturbation with just these options: "deepfool attack.images=24"."""
    return setting.select(loss=loss, attack=None if perturbation == "original" else perturbation)


def _section(setting: Setting) -> Section:
    losses, titles = setting.losses, _titles(setting)
    paper = published_table("table3").set_index("loss").reindex(index=list(losses), columns=list(PERTURBATIONS))
    groups = {p: {loss: _with_options(setting, loss, p) for loss in losses} for p in titles}
    rows: list[list[Cell]] = []
    for perturbation, name in titles.items():
        key, runs, numbers = metric(perturbation), groups[perturbation], paper[perturbation.split()[0]]
        ours, papers = ours_and_paper_cells(runs.values(), key, paper=numbers, where="Table 3")
        pair = numbers["ap"], numbers["focal"]
        leads = difference_cells(runs["ap"], runs["focal"], key, paper=pair, where="Table 3")
        rows.append([name, *ours, *papers, *leads[:2], leads[2] if key == "AP50" else NOT_PUBLISHED])
    columns = [("", "Test images"), *((group, name) for group in ("ours", "paper") for name in losses.values())]
    columns += [("AP-loss leads focal loss by", name) for name in ("ours", "paper", "difference")]
    run_ids = run_ids_of(runs for by_loss in groups.values() for runs in by_loss.values())
    tables = [Table("robustness", "By perturbation of the test images", columns, rows)]
    tables += [_drops(groups, titles, paper, losses, relative) for relative in (False, True)]
    shown = {p: {loss: runs_of(setting, loss, p) for loss in losses} for p in PERTURBATIONS}
    panels, notes = gallery_panels(shown, PERTURBATIONS, setting.runs)
    missing = _missing(setting, groups, titles, paper)
    by_perturbation = [[run for runs in by_loss.values() for run in runs] for by_loss in groups.values()]
    return Section(setting.overrides, tables, panels, missing, run_ids, notes, compares(by_perturbation))


def _titles(setting: Setting) -> dict[str, str]:
    """Return the title of each perturbation: with its options if a run has it, and without if none does."""
    titles = {}
    for name, title in PERTURBATIONS.items():
        for perturbation in setting.attacks(name):
            options = perturbation.split()[1:]
            titles[perturbation] = f"{title} ({', '.join(options)})" if options else title
    return titles


def _drops(
    groups: Mapping[str, Mapping[str, list[Run]]],
    titles: Mapping[str, str],
    paper: pd.DataFrame,
    losses: Mapping[str, str],
    relative: bool,
) -> Table:
    """Return the table of what each perturbation costs a detector, in points or in percent of its own AP50."""
    rows: list[list[Cell]] = []
    for perturbation, name in titles.items():
        if metric(perturbation) != "AP50" or perturbation == "original":
            continue
        row: list[Cell] = [name] if relative else [name, _covered(perturbation, groups[perturbation])]
        for loss in losses:
            row.append(_measured_drop(groups["original"][loss], groups[perturbation][loss], relative))
        for loss in losses:
            numbers = paper["original"][loss], paper[perturbation.split()[0]][loss]
            row.append(published(_drop(*numbers, relative), "Table 3"))
        rows.append(row)
    columns = [(group, name) for group in ("ours", "paper") for name in losses.values()]
    if relative:
        title = "What each perturbation costs, in percent of the original AP50"
        return Table("relative-drops", title, [("", "Test images"), *columns], rows)
    columns = [("", "Test images"), ("", "covered, %"), *columns]
    note = (
        "By how much AP50 is lower than that of the same detector, of the same seed, on the original images. Covered: "
        "the share of an image's area that patches cover, the mean over images."
    )
    return Table("drops", "What each perturbation costs, in points of AP50", columns, rows, [note])


def _covered(perturbation: str, groups: Mapping[str, list[Run]]) -> Cell:
    """Return how much of an image a perturbation's patches cover, the same for all losses; a dash without patches."""
    if "place" not in ATTACKS[perturbation.split()[0]].own_options:
        return "–"
    cell = measured([run for runs in groups.values() for run in runs], "patches/covered")
    return replace(cell, plain=True) if isinstance(cell, Measured) else cell


def _drop(original: float, perturbed: float, relative: bool) -> float:
    """Return by how much AP50 falls, in points or in percent of what it was."""
    if not relative:
        return original - perturbed
    return 100 * (original - perturbed) / original if original else math.nan


def _measured_drop(originals: list[Run], perturbed: list[Run], relative: bool) -> Measured | Absent:
    """Return the mean over the seeds that both have."""
    before, after = by_seed(originals, "AP50"), by_seed(perturbed, "AP50")
    drops = {seed: _drop(before[seed], after[seed], relative) for seed in before.keys() & after.keys()}
    drops = {seed: value for seed, value in sorted(drops.items()) if not math.isnan(value)}
    if not drops:
        return Absent()
    run_ids = tuple(run.run_id for run in (*originals, *perturbed) if run.config["seed"] in drops)
    return Measured(estimate(list(drops.values())), run_ids)


def _missing(
    setting: Setting,
    groups: Mapping[str, Mapping[str, list[Run]]],
    titles: Mapping[str, str],
    paper: pd.DataFrame,
) -> list[Missing]:
    """Return which of the paper's losses have no run, and which attacks are missing where there is one."""
    seeds = {run.config["seed"] for loss in PAPER_LOSSES for run in groups["original"][loss]} or {0}
    missing = missing_losses(setting, "table3", groups["original"])
    untested = []
    for perturbation, title in titles.items():
        name, *options = perturbation.split()
        tested = [{run.config["seed"] for run in groups[perturbation][loss]} for loss in PAPER_LOSSES]
        lacking = {seed for of_loss in tested for seed in seeds - of_loss}
        if name == "original" or not lacking:
            continue
        if options or paper[name].isna().all():  # not in the sweep
            words = [f"loss={','.join(PAPER_LOSSES)}", f"attack={name}", *options]
            missing.append(Missing(title, setting.command_of_words(words, lacking)))
        else:
            untested.append(title)
    if untested:
        missing.append(Missing(", ".join(untested), setting.command("table3", seeds)))
    return missing
