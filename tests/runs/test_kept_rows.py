import json
import math
import random

import torch

from src.runs.kept_rows import KeptRows

ROWS = [
    {"global_step": 1, "loss": 0.1 + 0.2, "positives": 7},
    {"global_step": 2, "loss": math.inf, "positives": 0},
    {"global_step": 2, "AP": 12.345678901234567, "AP/a b": -0.0},
    {"global_step": 2, "anchor_scores": [[1, 2], [3, 4]], "name": "text"},
    {"global_step": 3, "loss": 1e-300, "positives": 2**40, "flag": True},
]


def restored(rows, tmp_path):
    """Return rows after they were saved in a checkpoint and loaded."""
    torch.save(rows.to_plain(), tmp_path / "rows.pt")
    return KeptRows.from_plain(torch.load(tmp_path / "rows.pt", weights_only=True))


def test_rows_survive_a_checkpoint_bit_for_bit(tmp_path):
    rows = restored(KeptRows(ROWS), tmp_path)
    assert len(rows) == len(ROWS) and list(map(json.dumps, rows)) == list(map(json.dumps, ROWS))
    rows.append(ROWS[0])
    assert list(restored(rows, tmp_path)) == [*ROWS, ROWS[0]]
    assert math.isnan(list(restored(KeptRows([{"global_step": 1, "x": math.nan}]), tmp_path))[0]["x"])


def test_rows_of_many_kinds_keep_their_order(tmp_path):
    draw = random.Random(0)
    keys = [[f"k{draw.randrange(5)}" for _ in range(draw.randrange(4))] for _ in range(300)]
    rows = [{"global_step": step} | {key: draw.random() for key in of_row} for step, of_row in enumerate(keys)]
    assert list(restored(KeptRows(rows), tmp_path)) == rows


def test_what_an_earlier_version_kept_is_known_to_be_the_end_only():
    assert KeptRows.from_plain(ROWS).from_the_start and KeptRows().from_the_start
    assert not KeptRows.from_plain([{"global_step": 90, "loss": 1.0}]).from_the_start


def test_a_million_rows_take_little_of_a_checkpoint(tmp_path):
    row = {"global_step": 1, **{f"key{number}": float(number) for number in range(9)}}
    rows = KeptRows()
    for _ in range(20_000):
        rows.append(row)
    torch.save(rows.to_plain(), tmp_path / "rows.pt")
    assert (tmp_path / "rows.pt").stat().st_size < 90 * len(rows)
