import random
import zlib

import pytest
from wandb.proto.wandb_internal_pb2 import Record

from src.runs.wandb_log import BLOCK, FRAME, FULL, HEADER, check_log, join_rows, read_log, write_log
from tests.analysis.reading.test_runs import log_run


def read(file):
    """Return the records of an undamaged log."""
    damage = []
    records = list(read_log(file, damage.append))
    assert not damage
    return records


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A real log of several blocks."""
    directory = tmp_path_factory.mktemp("logged")
    log_run(directory, [[step, {"loss": step / 7, "filler": "x" * (step % 300)}] for step in range(500)])
    (file,) = directory.glob("wandb/offline-run-*/*.wandb")
    assert file.stat().st_size > 3 * BLOCK
    return file


@pytest.mark.slow
def test_logs_are_written_as_wandb_writes_them(logged, tmp_path):
    write_log(tmp_path / "log", read(logged))
    assert read(tmp_path / "log") == read(logged)
    assert (tmp_path / "log").stat().st_size == logged.stat().st_size


@pytest.mark.parametrize("left", range(-2, 10))
def test_records_at_the_borders_of_blocks_are_read(tmp_path, left):
    sizes = [BLOCK - len(HEADER) - 7 - 4 - left, 3 * BLOCK, 0, 100]
    records = [Record(uuid="x" * size) for size in sizes]
    write_log(tmp_path / "log", records)
    assert read(tmp_path / "log") == records
    log = (tmp_path / "log").read_bytes()
    for end in (log[:-50], log[:-50] + bytes(50), log[:-107] + bytes(2 * BLOCK)):
        (tmp_path / "log").write_bytes(end)
        assert read(tmp_path / "log") == records[:-1]
    (tmp_path / "log").write_bytes(bytes(b ^ (i == BLOCK) for i, b in enumerate(log)))
    damage = []
    # The second record goes over the border that is damaged; after that there are the others.
    assert list(read_log(tmp_path / "log", damage.append))[-1] == records[-1]
    assert "is damaged at byte" in damage[0]


@pytest.mark.slow
def test_a_cut_log_gives_the_records_before_the_cut(logged, tmp_path):
    records, log = read(logged), logged.read_bytes()
    generator = random.Random(0)
    for _ in range(200):
        (tmp_path / "log").write_bytes(log[: generator.randrange(len(log))])
        left = read(tmp_path / "log")
        assert left == records[: len(left)] and len(left) < len(records)


@pytest.mark.slow
def test_flipped_bits_are_reported_and_invent_no_record(logged, tmp_path):
    records, log = {record.SerializeToString() for record in read(logged)}, logged.read_bytes()
    generator = random.Random(1)
    for _ in range(200):
        position = generator.randrange(len(log))
        changed = bytearray(log)
        changed[position] ^= 1 << generator.randrange(8)
        (tmp_path / "log").write_bytes(changed)
        damage = []
        left = [record.SerializeToString() for record in read_log(tmp_path / "log", damage.append)]
        assert set(left) < records
        # Where the last frame is not what was written, the file is one that was cut off there.
        assert damage or set(left) == {record for record in records if record in left} and position > len(log) - 200


@pytest.mark.parametrize("bit", [13, 14, 15])
def test_a_length_beyond_the_file_is_reported(tmp_path, bit):
    records = [Record(uuid=str(number).rjust(1000)) for number in range(40)]
    write_log(tmp_path / "log", records)
    log, frame = (tmp_path / "log").read_bytes(), 7 + len(records[0].SerializeToString())
    assert len(log) < BLOCK + 2**13
    for number in range(39):
        at = len(HEADER) + number * frame if number < 33 else len(log) - (40 - number) * frame
        changed = bytearray(log)
        changed[at + 5] ^= 1 << bit - 8
        (tmp_path / "log").write_bytes(changed)
        damage = []
        left = list(read_log(tmp_path / "log", damage.append))
        # The rest of its block is lost; record 32 is in both blocks.
        assert damage and left == records[:number] + (records[33:] if number < 33 else [])


@pytest.mark.parametrize("content", [b"not a log" * 100, bytes(100), b":W&B\xe1\xbe\x01" + bytes(100)])
def test_a_file_that_is_no_log_is_named(tmp_path, content):
    (tmp_path / "log").write_bytes(content)
    damage = []
    assert not list(read_log(tmp_path / "log", damage.append)) and damage == [f"{tmp_path}/log is not a log of W&B"]


def test_a_record_that_is_none_of_wandbs_is_reported(tmp_path):
    file, damage = tmp_path / "log", []
    write_log(file, [Record(uuid="a"), Record(exit={"exit_code": 0})])
    assert check_log(file) == ""
    frame = FRAME.pack(zlib.crc32(bytes([FULL]) + b"none"), 4, FULL) + b"none"
    file.write_bytes(HEADER + frame + file.read_bytes()[len(HEADER) :])
    assert [record.HasField("exit") for record in read_log(file, damage.append)] == [False, True]
    assert damage == [f"{file} holds a record that is none of W&B's, before byte {len(HEADER + frame)}"]
    assert check_log(file) == damage[0]


def test_an_empty_file_and_a_header_are_logs_without_records(tmp_path):
    for content in (b"", HEADER[:3], HEADER, HEADER + bytes(20)):
        (tmp_path / "log").write_bytes(content)
        assert read(tmp_path / "log") == []


def test_rows_beyond_the_step_of_a_resumption_are_dropped():
    rows = [(1, {"a": 1}), (2, {"a": 2, "b": 2}), (2, {"c": 2}), (3, {"a": 3}), (4, {"a": 4})]
    rows += [(2, {"a": 22}), (3, {"d": 3})]
    assert join_rows(rows) == {1: {"a": 1}, 2: {"a": 22, "b": 2, "c": 2}, 3: {"d": 3}}
    assert rows[0] == (1, {"a": 1}) and join_rows([]) == {}
