"""Each artefact on every kind of run, also on those that nothing can make yet, with the keys that they will log."""

import math

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis.__main__ import build
from analysis.artefacts import (
    figure6,
    figure7,
    figure8,
    figure9,
    figure10,
    figure11,
    table1,
    table2,
    table3,
    table4,
    table6,
)
from analysis.artefacts.artefact import Absent
from analysis.artefacts.curves import steps_of_epoch
from analysis.artefacts.figure7 import high_negatives, outscoring_negatives
from analysis.artefacts.number_format import to_text
from analysis.claims import judge_claims
from analysis.claims.costs import COSTS
from analysis.reading.runs import Runs
from analysis.reading.settings import METHOD_TITLES, settings
from analysis.report.markdown import to_markdown
from tests.analysis.logged import BOXES, config_of, every_kind_of_run, named, rows_of, run_of

matplotlib.use("agg")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs():
    """All that the artefacts are made of, as it would be read from logs."""
    return Runs([run_of(config, rows) for config, rows in every_kind_of_run()])


def drawn(section):
    """The axes of each panel, drawn."""
    axes = {}
    for panel in section.panels:
        assert panel.alt and len(panel.data)
        ax = Figure().add_subplot()
        panel.draw(ax)
        axes[panel.name] = ax
    return axes


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def section_of(artefact, setting):
    (section,) = [section for section in artefact.sections if section.setting == setting]
    return section


def test_all_runs_count(runs):
    assert len(runs.counting) == len(runs.all) == 4 * 7 + 1 + 10


def test_table_2_has_the_papers_third_column(runs):
    artefact = table2.build(runs)
    table = section_of(artefact, "recipe=voc dataset.root=VOC model=ssd").tables[0]
    assert table.title == "SSD + PASCAL VOC"
    ap, focal = table.rows[3], table.rows[1]
    assert ap[1].estimate.mean == 40.5 and ap[4].value == 45.2 and ap[1].best
    assert focal[7].estimate.mean == 1.0 and focal[8].value == 5.9
    titles = [section.tables[0].title for section in artefact.sections]
    assert titles == ["RetinaNet + shapes", "SSD + PASCAL VOC", "RetinaNet + PASCAL VOC", "RetinaNet + COCO"]
    coco = artefact.sections[-1]
    assert all(isinstance(row[1], Absent) for row in coco.tables[0].rows)
    assert coco.missing[0].command == "python -m src.run -m sweeps=table2 recipe=coco dataset.root=coco seed=0"


def test_table_3(runs):
    section = section_of(table3.build(runs), "recipe=mini")
    rows = {row[0]: row for row in section.tables[0].rows}
    assert len(rows) == 7
    original, black, fool = rows["Original"], rows["Black Patch"], rows["DeepFool"]
    assert [cell.estimate.mean for cell in original[1:5]] == [55.0, 59.0, 57.0, 61.0]
    assert [cell.estimate.mean for cell in black[1:5]] == [47.0, 49.0, 48.0, 50.0]
    assert [cell.value for cell in black[5:9]] == [63.1, 60.9, 61.9, 65.2]
    assert black[9].estimate.mean == 1.0 and black[10].value == 4.3 and black[11].estimate.mean == pytest.approx(-3.3)
    assert [cell.estimate.mean for cell in fool[1:5]] == [18.0, 16.0, 17.0, 15.0] and fool[1].best
    assert fool[9].estimate.mean == -1.0 and fool[10].value == 1.5 and fool[11] == Absent("–")  # of no common unit
    assert all(isinstance(cell, Absent) for cell in rows["Flip Patch"][1:5])
    (missing,) = section.missing
    assert missing.what == "Black Patch, Random Patch, Flip Patch, Adversarial Patch, Gaussian Noise, DeepFool"
    assert missing.command.startswith("python -m src.run -m sweeps=table3 recipe=mini seed=")
    drops, relative = ({row[0]: row for row in table.rows} for table in section.tables[1:])
    assert to_text(drops["Black Patch"][1]) == "12.5" and len(drops["Black Patch"][1].run_ids) == 4
    assert isinstance(drops["Flip Patch"][1], Absent) and drops["Gaussian Noise"][1] == "–"
    assert [cell.estimate.mean for cell in drops["Black Patch"][2:6]] == [7.0, 9.0, 8.0, 10.0]  # of seed 0
    assert [cell.value for cell in drops["Black Patch"][6:]] == [18.4, 20.0, 17.8, 17.1]
    assert relative["Black Patch"][1].estimate.mean == pytest.approx(100 * 7 / 54)
    assert relative["Black Patch"][5].value == 22.6 and isinstance(drops["Flip Patch"][2], Absent)


def test_table_3_with_an_option_of_an_attack():
    def attacked(seed, *words):
        return run_of(config_of(f"seed={seed}", *words), [(20, {"AP50": 50.0, "minimal_perturbation": 9.0 + seed})])

    few = ["attack=deepfool", "attack.images=24"]
    runs = [attacked(0), attacked(1), attacked(0, *few), attacked(1, *few), attacked(0, "attack=gaussian_noise")]
    (section,) = table3.build(Runs(runs)).sections
    rows = {row[0]: row for row in section.tables[0].rows}
    assert len(rows) == 7 and rows["DeepFool (attack.images=24)"][4].estimate.mean == 9.5
    assert rows["Original"][4].estimate.mean == 50 and rows["DeepFool (attack.images=24)"][8].value == 16.4
    commands = {missing.what: missing.command for missing in section.missing}
    assert commands["DeepFool (attack.images=24)"] == (
        "python -m src.run -m loss=ohem,focal,auc,ap attack=deepfool attack.images=24 recipe=mini seed=0,1"
    )
    assert any("Gaussian Noise" in what and "DeepFool" not in what for what in commands)  # of seed 1

    (section,) = table3.build(Runs([*runs, attacked(0, "attack=deepfool")])).sections
    few_images, usual = section.tables[0].rows[-2:]
    assert [few_images[0], usual[0]] == ["DeepFool (attack.images=24)", "DeepFool"]
    assert len(few_images[4].run_ids) == 2 and len(usual[4].run_ids) == 1
    assert not set(few_images[4].run_ids) & set(usual[4].run_ids)
    focal = attacked(0, "loss=focal", *few)
    (claim,) = [claim for claim in judge_claims(Runs([*runs, focal])) if claim.name == "first-on-deepfool"]
    assert claim.verdicts[0].run_ids == [runs[2].run_id, runs[3].run_id, focal.run_id]


def test_settings_that_compare_nothing_are_named_where_others_compare_something():
    def trained(*words):
        return run_of(config_of(*words), rows_of(30.0))

    ap, focal = trained("loss=ap"), trained("loss=focal")
    short, wide = trained("loss=ap", "schedule.epochs=9"), trained("loss=ap", "delta=2", "schedule.epochs=9")
    names = ["table1", "table2", "figure6"]
    ablations, losses, training = build(names, Runs([ap, focal, short, wide]))
    shown = [[section.setting for section in artefact.sections if section.run_ids] for artefact in (ablations, losses)]
    assert shown == [["recipe=mini schedule.epochs=9"], ["recipe=mini"]]
    assert ablations.not_shown == ("recipe=mini",)
    assert losses.not_shown == training.not_shown == ("recipe=mini schedule.epochs=9",)
    assert "Not shown, as there is nothing to compare: `recipe=mini schedule.epochs=9`." in to_markdown(losses)
    assert [section.run_ids for section in losses.sections] == [[focal.run_id, ap.run_id], [], [], []]  # of the paper's

    for artefact in build(names, Runs([ap, short])):  # nothing compares, so everything is shown
        assert {"recipe=mini", "recipe=mini schedule.epochs=9"} <= {section.setting for section in artefact.sections}
        assert artefact.not_shown == ()


def test_parts_of_table_1_that_compare_nothing_are_left_out_where_others_compare_something():
    def trained(*words):
        return run_of(config_of(*words), rows_of(30.0))

    sizes, deltas = [trained(), trained("batch_size=4")], [trained("schedule.epochs=9", f"delta={d}") for d in (1, 2)]
    (artefact,) = build(["table1"], Runs([*sizes, *deltas]))
    by_size, by_delta = artefact.sections
    # Nobody compares interpolations, so that both say what is missing.
    assert [table.name for table in by_size.tables] == ["batch_size", "interpolated"]
    assert [table.name for table in by_delta.tables] == ["delta", "interpolated"]
    assert [missing.what for missing in by_size.missing] == ["Batch size 1, Batch size 2, Interpolated No"]
    timed = [trained("schedule.steps=20", f"delta={delta}") for delta in (1, 2)]  # shown by no part, so not others
    (artefact,) = build(["table1"], Runs([*sizes, *timed]))
    assert [table.name for table in artefact.sections[0].tables] == ["batch_size", "delta", "interpolated"]


def test_figure_6_compares_losses_over_several_evaluations():
    def trained(epochs, loss):
        rows = rows_of(30.0)  # of two epochs
        config = config_of(f"schedule.epochs={epochs}", f"loss={loss}")
        return run_of(config, rows if epochs == 2 else rows[: len(rows) // 2])

    over_training, once = ([trained(epochs, loss) for loss in ("ap", "focal")] for epochs in (2, 1))
    (artefact,) = build(["figure6"], Runs([*once, *over_training]))
    assert artefact.not_shown == ("recipe=mini schedule.epochs=1",)
    (artefact,) = build(["figure6"], Runs(once))
    assert [len(section.panels) for section in artefact.sections if section.run_ids] == [1]


def test_memory_and_time_by_batch_size_compare_several_losses_at_several_batch_sizes():
    def trained(epochs, loss, size):
        words = f"schedule.epochs={epochs}", f"loss={loss}", f"batch_size={size}"
        return run_of(config_of(*words), rows_of(30.0))

    both = [trained(9, loss, size) for loss in ("ap", "focal") for size in (4, 8)]
    one_loss, one_size = [trained(2, "ap", size) for size in (4, 8)], [trained(3, loss, 8) for loss in ("ap", "focal")]
    for figure in (figure9, figure11):
        (artefact,) = build([figure.__name__.rpartition(".")[2]], Runs([*both, *one_loss, *one_size]))
        assert [section.setting for section in artefact.sections] == ["recipe=mini schedule.epochs=9"]
        assert artefact.not_shown == ("recipe=mini schedule.epochs=2", "recipe=mini schedule.epochs=3")


def test_figure_6_has_both_panels(runs):
    artefact = figure6.build(runs)
    assert [s.panels[0].title for s in artefact.sections] == ["(a) RetinaNet, shapes", "(b) SSD, PASCAL VOC"]
    ax = drawn(artefact.sections[0])["training"]
    assert labels(ax)[-1] == "AP-loss (2 seeds)" and len(ax.lines) == 4
    (ap,) = [line for line in ax.lines if line.get_label().startswith("AP-loss")]
    assert ap.get_xdata().tolist() == [1.0, 2.0] and ap.get_ydata().tolist() == [15.25, 30.5]


def test_epochs_of_a_run_that_ended_within_one_are_counted_by_those_before():
    rows = [(step, values) for step, values in rows_of(30.0) if step <= 15]
    runs = Runs([run_of(config_of(), rows, "unfinished")], unfinished_too=True)
    assert figure6.build(runs).sections[0].panels[0].data.epoch.tolist() == [1.0]
    within_the_first = [(step, values) for step, values in rows if step <= 5]
    assert steps_of_epoch(run_of(config_of(), within_the_first)) == 5
    assert math.isnan(steps_of_epoch(run_of(config_of(), [])))


def test_figure_7_counts_negatives(runs):
    section = section_of(figure7.build(runs), "recipe=mini")
    assert [panel.name for panel in section.panels] == ["scores-ohem", "scores-focal", "scores-auc", "scores-ap"]
    panel = section.panels[-1]
    # Two seeds of the same counts: 1000 negatives low and 7 high, 20 anchors with IoU 0.6
    assert panel.data.anchors.tolist() == [2000, 14, 40]
    assert (
        "of 2,014 negative anchors 14 score at least 0.5" in panel.alt and "an IoU of at least 0.5 is 0.91" in panel.alt
    )
    image = drawn(section)["scores-ap"].images[0].get_array()
    assert image[40, 5] == 14 and image[45, 30] == 40 and image.count() == 3
    (table,) = section.tables
    assert [to_text(cell) for cell in table.rows[-1]] == ["AP-loss", "0.91 ± 0.00", "6951 ± 0", "0 ± 0"]


def test_negatives_above_the_median_positive_do_not_depend_on_the_scale_of_scores():
    def run_with(counts):
        return run_of(config_of(), [(1, {"anchor_scores": counts.tolist()})])

    counts = np.zeros((50, 50), int)
    counts[0, [1, 10, 20, 30]] = 900, 80, 16, 4  # negatives
    counts[30, [5, 20, 40]] = 30, 60, 10  # positives, of which the median is a third into the second of these bins
    assert outscoring_negatives(run_with(counts)) == pytest.approx(1e3 * (4 + 16 * (90 - 50) / 60))
    squeezed = np.zeros_like(counts)
    for low, high in enumerate((1, 5, 10, 20, 30, 40)):
        squeezed[:, low] = counts[:, high]
    assert outscoring_negatives(run_with(squeezed)) == outscoring_negatives(run_with(counts))
    assert high_negatives(run_with(squeezed)) == 0 < high_negatives(run_with(counts))
    counts[30] = 0
    assert math.isnan(outscoring_negatives(run_with(counts)))


def test_figure_8_has_both_panels(runs):
    section = section_of(figure8.build(runs), "recipe=mini")
    axes = drawn(section)
    assert labels(axes["training"]) == [f"{title} (1 seed)" for title in METHOD_TITLES.values()]
    (line,) = [line for line in axes["training"].lines if line.get_label().startswith("error")]
    assert line.get_ydata().tolist() == pytest.approx([1 - step / 40 for step in range(1, 21)])
    imbalance = section.panels[1].data
    approximate = imbalance[imbalance.method == "approximate_gradient"].sort_values(["share", "snapshot"])
    assert approximate.proposals.tolist() == ["2000", "8000", "8000", "all"]
    assert approximate.snapshot.tolist() == [False, False, True, False]
    assert approximate["mean"].tolist() == pytest.approx([0.42, 0.97, 0.48, 0.5125])
    assert approximate.converged.tolist() == [True, False, True, True]
    ax = axes["imbalance"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["2000", "8000", "all"]
    (dashed,) = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert dashed.get_xdata().tolist() == [2000 / 32736, 8000 / 32736, 1]
    assert dashed.get_ydata().tolist() == pytest.approx([0.42, 0.48, 0.5125])
    (solid,) = [line for line in ax.lines if line.get_label().startswith("approximate")]
    assert solid.get_ydata().tolist() == pytest.approx([0.42, math.nan, 0.5125], nan_ok=True)
    crosses = [line.get_xdata().tolist() for line in ax.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert crosses == [[8000 / 32736]]
    assert section.missing == []


def test_figure_8_takes_no_other_rpn_or_snapshot_for_a_further_seed():
    def on(name, end, **changes):
        own = {"method.name": "structured_hinge", "schedule.box_loss_weight": 0, "proposals": 2000}
        return run_of(named(name, **own | changes), rows_of(1.0, ap_loss=end))

    snapshots = ["schedule.epochs:2", "schedule.epochs:9"]
    usual = [on(f"usual-{seed}", 0.2 + seed / 10, seed=seed, rpn_epochs=3) for seed in (0, 1)]
    warm = [on(f"warm-{seed}", 0.4 + seed / 10, seed=seed, rpn_epochs=3, snapshot=snapshots[0]) for seed in (0, 1)]
    other_rpn = on("other-rpn", 0.9, rpn_epochs=9)
    other_snapshot = on("other-snapshot", 0.9, rpn_epochs=3, snapshot=snapshots[1])
    by_id = [on(f"by-id-{number}", 0.6, rpn_epochs=3, snapshot=f"{number:010}") for number in range(3)]
    of_seed_1 = on("by-id-of-seed-1", 0.8, seed=1, rpn_epochs=3, snapshot="0123456789")

    def shown(*runs):
        (section,) = figure8.build(Runs([*runs, *usual])).sections
        points = section.panels[-1].data.set_index("snapshot")
        left_out = len(runs) + len(usual) - len(section.run_ids)
        assert section.notes == [
            f"Not shown: {left_out} runs with another RPN or snapshot than most, or of one seed from several snapshots."
        ]
        return points["mean"].to_dict(), points.seeds.to_dict(), set(section.run_ids) - {run.run_id for run in usual}

    means, seeds, ids = shown(other_rpn, other_snapshot, *warm)
    assert means == pytest.approx({False: 0.25, True: 0.45}) and seeds == {False: 2, True: 2}
    assert ids == {run.run_id for run in warm}
    means, seeds, ids = shown(*by_id, of_seed_1)  # the ids do not say which of seed 0's goes with that of seed 1
    assert means == pytest.approx({False: 0.25, True: 0.8}) and seeds == {False: 2, True: 1}
    assert ids == {of_seed_1.run_id}


def test_figures_9_to_11(runs):
    section = section_of(figure9.build(runs), "recipe=mini")
    ax = drawn(section)["memory"]
    assert labels(ax)[0] == "no loss (1 seed)" and len(ax.lines) == 5
    memory = section.panels[0].data.set_index(["loss", "batch_size"])["mean"]
    # Up to the first evaluation, after step 10
    assert memory["ap", 8] == 1034 / 1024 and memory["ap", 4] == 0.5 and memory["none", 8] == 900 / 1024
    added = section.panels[1].data.set_index(["loss", "batch_size"])["mean"]
    assert added["ap", 8] == 134 and ("ap", 4) not in added and "none" not in added.index.get_level_values(0)
    assert "at 1" in section.missing[0].what and "at 8" not in section.missing[0].what
    assert "x86_64 CPU of " in section.notes[0] and "(2 threads)" in section.notes[0]

    panels = {panel.name: panel for panel in section_of(figure10.build(runs), "recipe=mini").panels}
    assert panels["loss_seconds"].data["mean"].tolist() == [0.01] * 20
    assert panels["iteration_seconds"].data.seeds.max() == 2
    section = section_of(figure11.build(runs), "recipe=mini")
    times = section.panels[0].data.set_index(["loss", "batch_size"])["mean"]
    assert times["ap", 8] == pytest.approx(10) and times["focal", 4] == pytest.approx(5)
    assert len(drawn(section)["time"].lines) == 4


def test_times_and_memory_of_two_machines_are_not_averaged():
    def on(host, seed, *words):
        config = config_of(f"seed={seed}", *words, **{"environment.host": host, "environment.threads": 1})
        return run_of(config, rows_of(1.0, loss_seconds=0.5 if host == "slow" else 0.1))

    runs = Runs([on("slow", 0), on("fast", 1), on("fast", 2), on("fast", 1, "batch_size=4")])
    for module in (figure9, figure10, figure11):
        section = section_of(module.build(runs), "recipe=mini")
        assert section.panels[0].data.seeds.max() == 2 and set(section.run_ids) <= {run.run_id for run in runs.all[1:]}
        assert "Measured on x86_64 CPU of fast" in section.notes[0] and "Not shown" in section.notes[0]
        assert "CPU of slow (1 thread)" in section.notes[0]
    runs = Runs([on("slow", 0, "batch_size=2"), on("fast", 0), on("fast", 0, "batch_size=4")])
    for module in (figure9, figure11):
        (missing,) = section_of(module.build(runs), "recipe=mini").missing
        assert "AP-loss at 1" in missing.what and "AP-loss at 2" not in missing.what  # the command would skip it


def test_a_training_of_so_many_steps_is_for_figures_9_to_11_alone():
    words = ["model.small=false", "schedule.steps=20"]
    rows = [(step, values | {"loss_seconds": 0.02 if step <= 10 else 0.01}) for step, values in rows_of(1.0)]
    rows = [(step, values) for step, values in rows if "AP" not in values]
    runs = Runs([run_of(config_of(*words, f"batch_size={size}"), rows) for size in (4, 8)])
    for module in (table1, table2, table4, table6, figure6):
        assert not any(section.run_ids for section in module.build(runs).sections)
    (section,) = figure9.build(runs).sections
    (panel,) = section.panels  # and none of what the loss adds, as there is no run without one
    assert panel.data["mean"].tolist() == [1044 / 1024] * 2
    (section,) = figure11.build(runs).sections
    assert section.panels[0].data["mean"].tolist() == pytest.approx([10, 10])
    (section,) = figure10.build(runs).sections
    assert section.panels[0].data["mean"].tolist() == [0.02] * 10 + [0.01] * 10
    verdicts = [statement.name for statement in COSTS if statement.verdict(settings(runs.counting)[0]) is not None]
    assert "time-falls-early" not in verdicts and "a-third-of-the-iteration" in verdicts


def test_memory_below_that_without_a_loss_is_seen():
    peaks = {"none": 900.0, "ap": 800.0}
    runs = Runs([run_of(config_of(f"loss={loss}"), [(1, {"peak_memory": peak})]) for loss, peak in peaks.items()])
    axes = drawn(section_of(figure9.build(runs), "recipe=mini"))
    (line,) = axes["added"].lines
    assert (
        line.get_ydata().tolist() == [-100] and axes["added"].get_ylim()[0] < -100 and axes["memory"].get_ylim()[0] == 0
    )


def test_without_runs_each_artefact_names_its_sweep():
    for module in (table3, figure6, figure7, figure8, figure9, figure10, figure11):
        section, *others = module.build(Runs([])).sections
        assert [one.setting for one in others] == ["recipe=mini model=ssd"] * (module is figure6)
        name = module.__name__.rpartition(".")[2]
        assert section.missing[0].command == f"python -m src.run -m sweeps={name} recipe=mini seed=0"
        assert not section.run_ids and not section.panels


def test_a_number_that_is_not_finite_leaves_its_point_out_of_a_figure():
    # As AP of a test split without objects; a seed that has the number stays.
    runs = [run_of(config_of(f"seed={seed}"), rows_of(ap)) for seed, ap in enumerate((math.nan, 30.0))]
    (section, _) = figure6.build(Runs(runs)).sections
    assert drawn(section) and section.panels[0].alt.endswith("At the end: AP-loss 30.0.")
    (section, _) = figure6.build(Runs(runs[:1])).sections
    assert section.run_ids and not section.panels
    unranked = run_of(config_of(BOXES), rows_of(1.0, ap_loss=math.nan))
    untimed = run_of(config_of(), rows_of(1.0, iteration_seconds=math.nan))
    assert not figure8.build(Runs([unranked])).sections[0].panels
    assert not figure10.build(Runs([untimed])).sections[0].panels


def test_a_number_that_runs_lack_is_a_dash_and_one_without_runs_is_missing():
    aps = {"ap": 30.0, "focal": math.nan, "ohem": 20.0}  # NaN as AP of small objects where the test images have none
    runs = Runs([run_of(config_of(f"loss={loss}"), rows_of(ap)) for loss, ap in aps.items()])
    rows = {row[0]: [to_text(row[1]), to_text(row[7])] for row in table2.build(runs).sections[0].tables[0].rows}
    assert rows["CE-loss + OHEM"] == ["20.0 †", "+10.0 †"] and rows["Focal loss"] == ["–", "–"]
    assert rows["AUC-loss"] == ["missing", "missing"]
    (verdict,) = next(claim for claim in judge_claims(runs) if claim.name == "first-retinanet").verdicts
    assert verdict.numbers.endswith("CE-loss + OHEM; no run with AUC-loss; no number with Focal loss.")
