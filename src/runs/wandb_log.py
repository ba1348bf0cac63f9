"""Read and write W&B's log files, and join the rows of a resumed run.

A file consists of a header and frames as in LevelDB's log: checksum, length, kind, payload. No frame crosses the border
of a 32 KiB block, so a protobuf record consists of one or more frames.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from wandb.proto.wandb_internal_pb2 import Record

HEADER, BLOCK, FRAME = b":W&B\xe1\xbe\x00", 32768, struct.Struct("<IHB")
NO_END = "has no end"  # what is wrong with the log of a process that was killed
RECORDS_OF_END = 50  # upper bound of the records that W&B writes when a run ends, and after that
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4  # kinds of frames: a whole record, or the parts of one


class _Frame(NamedTuple):
    """A frame whose checksum is right."""

    start: int
    end: int
    kind: int
    payload: bytes


class _Damage(NamedTuple):
    """The byte at which something is wrong."""

    start: int


class _Payload(NamedTuple):
    """A record as bytes, and where its last frame ends."""

    end: int
    content: bytes


def read_log(file: Path, on_damage: Callable[[str], None]) -> Iterator[Record]:
    """Yield the records of a W&B log, up to where it was cut off.

    Args:
        on_damage: called with a message if the file is not a log of W&B's, or is damaged before its end. If it returns,
            reading continues with the next block. A record is yielded only if all its checksums are right.
    """
    yield from _parse(file, _payloads(file, on_damage), on_damage)


def check_log(file: Path) -> str:
    """Return what is wrong with a log whose run has ended, in words; "" if nothing. Its rows are not checked.

    Raises:
        OSError: the file cannot be read.
    """
    damage: list[str] = []
    last = deque(_payloads(file, damage.append), maxlen=RECORDS_OF_END)
    ended = any(record.HasField("exit") for record in _parse(file, last, damage.append))
    if damage:
        return damage[0]
    return "" if ended else f"{file} {NO_END}"


def _payloads(file: Path, on_damage: Callable[[str], None]) -> Iterator[_Payload]:
    """Yield the records of a log as bytes; see :func:`read_log`."""
    log = file.read_bytes()
    if log[: len(HEADER)] != HEADER[: len(log)]:
        on_damage(f"{file} is not a log of W&B")
        return
    for item in _join_frames(log, _frames(log)):
        if isinstance(item, _Damage):
            on_damage(f"{file} is damaged at byte {item.start}")
        else:
            yield item


def _parse(file: Path, payloads: Iterable[_Payload], on_damage: Callable[[str], None]) -> Iterator[Record]:
    """Yield the records of a log that are W&B's."""
    # Imported only here, as wandb takes half a second to import.
    from google.protobuf.message import DecodeError
    from wandb.proto.wandb_internal_pb2 import Record

    for payload in payloads:
        try:
            record = Record.FromString(payload.content)
        except DecodeError:
            on_damage(f"{file} holds a record that is none of W&B's, before byte {payload.end}")
        else:
            yield record


def _frames(log: bytes) -> Iterator[_Frame | _Damage]:
    """Yield the frames of a log; for an invalid one a _Damage, after which the rest of its block is skipped."""
    start = len(HEADER)
    while start + FRAME.size <= len(log):
        next_block = start - start % BLOCK + BLOCK
        if next_block - start < FRAME.size:
            start = next_block
            continue
        checksum, length, kind = FRAME.unpack_from(log, start)
        end = start + FRAME.size + length
        within = end <= min(next_block, len(log))
        if within and zlib.crc32(memoryview(log)[start + FRAME.size - 1 : end]) == checksum:
            yield _Frame(start, end, kind, log[start + FRAME.size : end])
            start = end
        elif _is_unfinished_end(log, start, end, next_block):
            return
        else:
            yield _Damage(start)
            start = next_block


def _is_unfinished_end(log: bytes, start: int, end: int, next_block: int) -> bool:
    """Return whether an invalid frame is just the end of a log whose writer was stopped."""
    if not any(memoryview(log)[start:]):
        return True  # the host went down as this was written, and zeros stand for what it lost
    if end > next_block:
        return False
    if end > len(log):
        return _is_cut_off(log, start)
    return not any(memoryview(log)[end:])  # the last frame, not written whole


def _is_cut_off(log: bytes, start: int) -> bool:
    """Return whether a frame that ends beyond the file is cut off there, rather than whole with a wrong length."""
    checksum, _, kind = FRAME.unpack_from(log, start)
    running = zlib.crc32(bytes([kind]))
    for position in range(start + FRAME.size, len(log)):
        running = zlib.crc32(log[position : position + 1], running)
        if running == checksum:
            return False
    return True


def _join_frames(log: bytes, frames: Iterable[_Frame | _Damage]) -> Iterator[_Payload | _Damage]:
    """Join frames to records; a frame that is out of order is damage."""
    parts: list[bytes] = []  # of a record whose last frame is still to come
    for frame in frames:
        if isinstance(frame, _Damage):
            parts = []
            yield frame
            continue
        begins = frame.kind in (FULL, FIRST)
        if begins == bool(parts) or frame.kind not in (FULL, FIRST, MIDDLE, LAST):
            if not any(memoryview(log)[frame.start + FRAME.size :]):
                return  # zeros stand for what the host lost, as in _is_unfinished_end
            parts = []
            yield _Damage(frame.start)
            if not begins:
                continue
        parts.append(frame.payload)
        if frame.kind in (FULL, LAST):
            yield _Payload(frame.end, b"".join(parts))
            parts = []


def key_levels(item: Any) -> tuple[str, ...]:
    """Return the key of a value in a record, level by level; W&B has another field for keys of one level."""
    return tuple(item.nested_key) or (item.key,)


def write_log(file: Path, records: Iterable[Record]) -> None:
    """Write records as a W&B log."""
    log = bytearray(HEADER)
    for record in records:
        rest, is_first = record.SerializeToString(), True
        while rest or is_first:
            room = BLOCK - len(log) % BLOCK - FRAME.size
            if room < 0:
                log += bytes(room + FRAME.size)
                continue
            part, rest = rest[:room], rest[room:]
            kind = (FIRST if is_first else MIDDLE) if rest else (FULL if is_first else LAST)
            log += FRAME.pack(zlib.crc32(bytes([kind]) + part), len(part), kind) + part
            is_first = False
    file.write_bytes(log)


def join_rows(rows: Iterable[tuple[int, dict[Any, Any]]]) -> dict[int, dict[Any, Any]]:
    """Return the rows of a run by global step, in ascending order.

    Where the step goes back, the run was resumed from a checkpoint: rows beyond that step are dropped, and values that
    are logged again at the same step replace the earlier ones.

    Args:
        rows: global step and values, in the order of logging.
    """
    joined: dict[int, dict[Any, Any]] = {}
    last = None
    for step, row in rows:
        if last is not None and step < last:
            joined = {known: values for known, values in joined.items() if known <= step}
        last = step
        joined[step] = joined.get(step, {}) | row
    return dict(sorted(joined.items()))
