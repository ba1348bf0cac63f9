import math

import pandas as pd
import pytest

from analysis.runs import Run
from analysis.table1 import build, to_text


def make_run(ap, seed=0, finished=True, **changes):
    config = {
        "recipe": "mini", "loss.name": "ap", "delta": 1.0, "interpolated": True, "batch_size": 8, "seed": seed,
        "schedule.epochs": 9, "dataset.name": "shapes", "dataset.format": "shapes",
        "environment.host": f"host{seed}", "outputs": f"o{seed}",
    } | changes  # fmt: skip
    history = pd.DataFrame({"global_step": [1, 2, 3], "AP": [1.0, math.nan, ap], "AP50": [2.0, math.nan, 2 * ap]})
    return Run(f"{ap}-{seed}", config, history, finished)


def row(table, block, value):
    (found,) = table[(table.block == block) & (table.value == value)].to_dict("records")
    return found


def test_cells_are_means_over_seeds_of_the_runs_that_belong_there():
    runs = [
        make_run(30.0), make_run(34.0, seed=1), make_run(20.0, delta=0.5), make_run(25.0, interpolated=False),
        make_run(10.0, batch_size=2), make_run(99.0, finished=False), make_run(98.0, **{"loss.name": "focal"}),
        make_run(97.0, delta=0.7), make_run(96.0, delta=0.25, batch_size=4),
    ]  # fmt: skip
    ((name, table),) = build(runs).items()
    assert name == "recipe=mini" and len(table) == 11
    for block, value in (("delta", "1"), ("batch_size", "8"), ("interpolated", "Yes")):
        found = row(table, block, value)
        assert found["AP"] == 32 and found["AP50"] == 64 and found["seeds"] == 2
        assert found["paper AP"] == 53.1 and math.isnan(found["AP75"])
    assert row(table, "delta", "0.5")["AP"] == 20 and row(table, "delta", "0.5")["paper AP75"] == 55.4
    assert row(table, "interpolated", "No")["AP"] == 25
    assert row(table, "batch_size", "2")["AP"] == 10 and row(table, "batch_size", "4")["seeds"] == 0
    assert math.isnan(row(table, "delta", "0.25")["AP"])


def test_other_settings_make_other_tables():
    tables = build([make_run(30.0), make_run(40.0, **{"schedule.epochs": 2}), make_run(50.0, recipe="bccd")])
    assert set(tables) == {"recipe=mini, schedule.epochs=9", "recipe=mini, schedule.epochs=2", "recipe=bccd"}
    assert row(tables["recipe=mini, schedule.epochs=2"], "delta", "1")["AP"] == 40


def test_text_shows_what_is_missing_and_how_to_make_it():
    text = to_text(build([make_run(30.04), make_run(20.0, delta=0.5)]))
    assert "| 1 | 30.0 | 60.1 | nan | 1 | 53.1 | 82.3 | 58.1 |" in text
    assert "| 4 | missing | missing | missing | – | 50.5 | 80.2 | 54.7 |" in text
    assert "`python -m src.run -m recipe=mini loss=ap delta=0.25,2,4`" in text
    assert "`python -m src.run -m recipe=mini loss=ap interpolated=false`" in text


def test_commands_name_the_folder_of_data_that_is_not_built_in():
    text = to_text(build([make_run(1.0, recipe="bccd", **{"dataset.root": "some/where", "dataset.format": "voc"})]))
    assert "`python -m src.run -m recipe=bccd dataset.root=some/where loss=ap delta=0.25,0.5,2,4`" in text


def test_without_runs_all_is_missing():
    text = to_text(build([]))
    assert text.count("missing |") == 33 and "delta=0.25,0.5,1,2,4`" in text


@pytest.mark.parametrize("block", ["batch_size", "delta", "interpolated"])
def test_papers_standard_row_is_the_same_in_each_block(block):
    table = build([make_run(1.0)])["recipe=mini"]
    standard = {"batch_size": "8", "delta": "1", "interpolated": "Yes"}[block]
    assert [row(table, block, standard)[f"paper {m}"] for m in ("AP", "AP50", "AP75")] == [53.1, 82.3, 58.1]
