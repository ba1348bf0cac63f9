"""Tables 4 to 6: the paper's numbers, and ours beside them."""

import pytest

from analysis.artefacts import table4, table5, table6
from analysis.artefacts.artefact import Absent, Measured, Published
from analysis.paper.published import published_table
from analysis.reading.runs import Runs
from tests.analysis.logged import named, run_of

# Of each column with numbers, their sum in tenths, so that no number can be changed unseen.
SUMS = {
    "table4": {
        "AP50": 15412,
        "aeroplane": 11909,
        "bicycle": 12065,
        "bird": 11532,
        "boat": 10484,
        "bottle": 9296,
        "bus": 12326,
        "car": 12340,
        "cat": 12488,
        "chair": 9271,
        "cow": 12147,
        "diningtable": 10590,
        "dog": 12338,
        "horse": 12418,
        "motorbike": 12029,
        "person": 11639,
        "pottedplant": 7807,
        "sheep": 11661,
        "sofa": 11265,
        "train": 12170,
        "tvmonitor": 11414,
    },
    "table5": {
        "AP50": 14264,
        "aeroplane": 16140,
        "bicycle": 15508,
        "bird": 14489,
        "boat": 12104,
        "bottle": 11160,
        "bus": 15098,
        "car": 15019,
        "cat": 16700,
        "chair": 11153,
        "cow": 15131,
        "diningtable": 11681,
        "dog": 16473,
        "horse": 15821,
        "motorbike": 15729,
        "person": 15480,
        "pottedplant": 10331,
        "sheep": 15023,
        "sofa": 12923,
        "train": 15715,
        "tvmonitor": 13583,
    },
    "table6": {
        "AP": 10561,
        "AP50": 16357,
        "AP75": 11370,
        "APsmall": 5558,
        "APmedium": 11404,
        "APlarge": 14190,
        "AR1": 3896,
        "AR10": 6173,
        "AR100": 6717,
        "ARsmall": 3799,
        "ARmedium": 7259,
        "ARlarge": 9007,
    },
}
# Rows of Table 4 whose classes have another mean than the row's own, in the paper as here.
NOT_THE_MEAN = {("SSD512*", "one-stage"), ("DSSD513", "one-stage"), ("AP-loss500", "multi-scale")}


@pytest.mark.parametrize("name", SUMS)
def test_the_columns_of_the_papers_tables_have_these_sums(name):
    table = published_table(name)
    assert {column: round(10 * table[column].sum()) for column in table.columns[3:]} == SUMS[name]


@pytest.mark.parametrize("name", ["table4", "table5"])
def test_a_published_ap50_is_the_mean_of_its_classes(name):
    for row in published_table(name).itertuples(index=False):
        classes = list(row[4:])
        assert len(classes) == 20
        if classes[0] == classes[0] and not (name == "table4" and (row.method, row.group) in NOT_THE_MEAN):
            assert sum(classes) / 20 == pytest.approx(row.AP50, abs=0.1), row.method  # both are rounded


def test_the_papers_own_rows_are_those_of_its_text():
    own = {
        name: published_table(name).query("method.str.startswith('AP-loss')") for name in ("table4", "table5", "table6")
    }
    assert own["table4"].AP50.tolist() == [83.9, 84.9] and own["table5"].AP50.tolist() == [83.1, 84.5]
    assert own["table6"].AP.tolist() == [37.4, 40.8, 42.1] and own["table6"].APsmall.tolist() == [17.3, 25.4, 25.6]


def run(run_id, loss, values, **changes):
    return run_of(named(run_id, f"loss={loss}", **changes), [(20, values)])


RESNET_101 = {"model.backbone": "resnet101", "dataset.train_size": 512}
VOC = {"recipe": "voc", "dataset.name": "voc", "dataset.test": "2007_test"} | RESNET_101
COCO = {"recipe": "coco", "dataset.name": "coco", "dataset.test": "val2017"} | RESNET_101


def test_ours_by_class_stand_above_the_papers():
    values = {"VOC07_AP50": 50.0, "VOC07_AP50/aeroplane": 40.0, "VOC12_AP50": 55.0, "VOC12_AP50/aeroplane": 45.0}
    runs = Runs(
        [
            run("one", "ap", values, **VOC),
            run("two", "focal", {**values, "VOC07_AP50": 49.0}, **VOC),
            run("scales", "ap", values, **VOC, **{"test.scales": [400, 500]}),
            run("mini", "ap", {"VOC07_AP50": 70.0, "VOC07_AP50/a": 60.0, "VOC07_AP50/b/c": 80.0}),
            run("2012", "ap", values, **VOC | {"dataset.test": "2012_val"}),
        ]
    )
    sections = {section.run_ids[-1]: section for section in table4.build(runs).sections}
    assert sections.keys() == {"one", "scales", "mini"} and sections["one"].run_ids == ["two", "one"]
    (table,) = sections["one"].tables
    assert [name for _, name in table.columns][:5] == ["Method", "Kind", "Backbone", "AP50", "aeroplane"]
    assert len(table.columns) == 24 and len(table.rows) == 4 + 19
    focal, ap = table.rows[1], table.rows[3]
    assert ap[:3] == ["ours, AP-loss", "one-stage", "ResNet-101"] and ap[3].estimate.mean == 50 and ap[3].best
    assert ap[4].estimate.mean == 40 and isinstance(ap[5], Absent)
    assert focal[3].estimate.mean == 49 and not focal[3].best
    own = table.rows[-4]
    assert own[:3] == ["AP-loss500", "one-stage", "ResNet-101"]
    assert own[3] == Published(83.9, "Table 4", best=True) and table.rows[10][4] == Absent("–")
    assert table.rows[-1][0] == "AP-loss500+" and table.rows[-1][3].best
    assert sections["scales"].tables[0].rows[3][1] == "multi-scale"
    (small,) = sections["mini"].tables
    assert [name for _, name in small.columns] == ["Method", "Kind", "Backbone", "AP50", "a", "b/c"]
    assert len(small.rows) == 4 and small.rows[3][5].estimate.mean == 80
    (missing,) = sections["one"].missing
    assert missing.what == "CE-loss + OHEM, AUC-loss" and "sweeps=table4 recipe=" in missing.command

    (in_2012,) = [section for section in table5.build(runs).sections if "2012_val" in section.setting]
    assert in_2012.tables[0].rows[3][3].estimate.mean == 55 and len(in_2012.tables[0].rows) == 4 + 18


def test_classes_stand_in_the_same_order_however_the_log_has_them():
    def columns(*names):
        values = {"VOC07_AP50": 1.0, "VOC12_AP50": 1.0} | {
            f"{key}/{name}": 1.0 for name in names for key in ("VOC07_AP50", "VOC12_AP50")
        }
        runs = Runs([run("one", "ap", values)])
        return [[name for _, name in table.build(runs).sections[0].tables[0].columns[4:]] for table in (table4, table5)]

    assert columns("a", "c", "b") == columns("b", "a", "c") == [["a", "b", "c"]] * 2


def test_by_size_the_papers_rows_stand_beside_coco_alone():
    values = {"AP": 30.0, "APsmall": 10.0, "ARlarge": 60.0}
    mini, coco = table6.build(Runs([run("mini", "ap", values)])).sections
    assert [len(section.tables[0].rows) for section in (mini, coco)] == [4, 4 + 28]
    row = mini.tables[0].rows[3]
    assert [cell.estimate.mean for cell in row if isinstance(cell, Measured)] == [30, 10, 60]
    assert coco.missing[0].command == (
        "python -m src.run -m sweeps=table6 recipe=coco dataset.root=coco model.backbone=resnet101 "
        "dataset.test_shorter_side=500 dataset.test_longer_side=833 seed=0"
    )
    (found,) = table6.build(Runs([run("coco", "ap", values, **COCO)])).sections
    assert len(found.tables[0].rows) == 32 and found.tables[0].rows[3][3].estimate.mean == 30
    small = run("small", "ap", values, **COCO | {"dataset.train_size": 160})  # hides nothing of the paper's
    assert [section.run_ids for section in table6.build(Runs([small])).sections] == [["small"], []]


@pytest.mark.parametrize(
    ("backbone", "name"), [("resnet10_half", "ResNet-10, half"), ("efficientnet_lite0", "EfficientNet-Lite0")]
)
def test_backbones_have_the_names_of_their_papers(backbone, name):
    (section, _) = table6.build(Runs([run("one", "ap", {"AP": 30.0}, **{"model.backbone": backbone})])).sections
    assert section.tables[0].rows[0][2] == name


def test_without_runs_the_papers_rows_stand_alone_with_the_command():
    for module in (table4, table5, table6):
        (section,) = module.build(Runs([])).sections
        name = module.__name__.rpartition(".")[2]
        assert f"sweeps={name} recipe=" in section.missing[0].command and "model.backbone=resnet101" in section.setting
        assert not section.run_ids and any(isinstance(cell, Published) for cell in section.tables[0].rows[-1])
