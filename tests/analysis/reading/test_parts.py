"""The parts of a resumed run's log are joined by attempt, whatever the clocks of the machines that wrote them."""

import json

import pytest
from wandb.proto.wandb_internal_pb2 import Record

from analysis.reading.local import read_local
from src.runs.log_parts import read_parts
from src.runs.wandb_log import read_log, write_log
from src.runs.wandb_upload import _join_segments, _read_segment


def write_part(directory, name, *, started, steps, exit_code, attempt=None, late=False):
    """Write a part of a log with a row for each step; with `late`, the attempt is logged only after the start."""
    run, records = Record(), []
    run.run.run_id = "run"
    run.run.start_time.FromSeconds(started)
    if attempt is not None:
        update = run.run.config.update.add(nested_key=["attempt"], value_json="1" if late else str(attempt))
        if late:
            record = Record()
            record.config.update.add(nested_key=["attempt"], value_json=str(attempt))
            records.append(record)
        assert json.loads(update.value_json)
    for step in steps:
        record = Record()
        for key, value in (("global_step", step), ("loss", started + step)):
            record.history.item.add(nested_key=[key], value_json=json.dumps(value))
        records.append(record)
    end = Record()
    end.exit.exit_code = exit_code
    file = directory / f"wandb/offline-run-{name}-run/run-run.wandb"
    file.parent.mkdir(parents=True)
    write_log(file, [run, *records, end])


@pytest.mark.parametrize("late", [False, True], ids=["at the start", "corrected"])
def test_a_part_written_by_a_slow_clock_is_the_last_if_its_attempt_is(tmp_path, late):
    directory = tmp_path / "run"
    write_part(directory, "20260101_120000", started=1_800_000_600, steps=range(1, 7), exit_code=1, attempt=1)
    write_part(
        directory, "20260101_115000", started=1_800_000_000, steps=range(5, 11), exit_code=0, attempt=2, late=late
    )
    (run,) = read_local(tmp_path).all
    assert run.finished and run.history["global_step"].tolist() == list(range(1, 11))
    assert run.history["loss"].tolist() == [1_800_000_600 + s if s < 5 else 1_800_000_000 + s for s in range(1, 11)]
    assert [part.attempt for part in read_parts(directory)] == [1, 2]
    segments = [_read_segment(file) for file in sorted(directory.glob("wandb/*/*.wandb"))]
    rows = [record.history for record in _join_segments(segments, 0) if record.HasField("history")]
    uploaded = {row.step.num: {tuple(item.nested_key): item.value_json for item in row.item} for row in rows}
    assert [json.loads(row[("loss",)]) for row in uploaded.values()] == run.history["loss"].tolist()


def test_parts_of_earlier_versions_come_first_and_by_their_clocks(tmp_path):
    directory = tmp_path / "run"
    write_part(directory, "1", started=200, steps=[3, 4], exit_code=1)
    write_part(directory, "2", started=100, steps=[1, 2], exit_code=1)
    write_part(directory, "3", started=50, steps=[5], exit_code=0, attempt=7)
    (run,) = read_local(tmp_path).all
    assert run.finished and run.history["loss"].tolist() == [101, 102, 203, 204, 55]
    assert all(list(read_log(part.file, pytest.fail)) for part in read_parts(directory))
