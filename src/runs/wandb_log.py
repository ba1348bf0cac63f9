"""W&B's log files: reading and writing their records, and the rule by which the rows of a resumed run are joined.

A file is records of protobuf in frames as of LevelDB's log: checksum, length, kind; no frame crosses a block of 32 KiB.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wandb.proto.wandb_internal_pb2 import Record

HEADER, BLOCK, FRAME = b":W&B\xe1\xbe\x00", 32768, struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def read_log(file: Path, on_damage: Callable[[str], None]) -> Iterator[Record]:
    """The records of a W&B log, up to where it was cut off.

    Args:
        on_damage: told what is wrong when the file is no such log, or damaged before its end. If it returns, reading
            goes on with the next block; every record that is given is whole, as its checksums tell.
    """
    # Here alone, as wandb takes half a second to import.
    from google.protobuf.message import DecodeError
    from wandb.proto.wandb_internal_pb2 import Record

    log = file.read_bytes()
    if log[: len(HEADER)] != HEADER[: len(log)]:
        on_damage(f"{file} is not a log of W&B")
        return
    at, parts = len(HEADER), []  # the frames of a record that is not whole yet
    while at + FRAME.size <= len(log):
        if BLOCK - at % BLOCK < FRAME.size:
            at += BLOCK - at % BLOCK
            continue
        checksum, length, kind = FRAME.unpack_from(log, at)
        end = at + FRAME.size + length
        block_end = at - at % BLOCK + BLOCK
        if len(log) < end <= block_end and _is_cut_off(log, at):
            return
        within = end <= min(block_end, len(log))
        sound = within and zlib.crc32(memoryview(log)[at + FRAME.size - 1 : end]) == checksum
        if not sound or (parts if kind in (FULL, FIRST) else not parts) or kind not in (FULL, FIRST, MIDDLE, LAST):
            if not any(memoryview(log)[at + FRAME.size if sound else at :]):
                return  # the host went down as this was written, and zeros stand for what it lost
            if within and not sound and not any(memoryview(log)[end:]):
                return  # the last frame, not written whole
            on_damage(f"{file} is damaged at byte {at}")
            parts = []
            if not sound:
                at += BLOCK - at % BLOCK
                continue
            if kind in (MIDDLE, LAST):
                at = end
                continue
        parts.append(log[at + FRAME.size : end])
        at = end
        if kind in (FULL, LAST):
            try:
                record = Record.FromString(b"".join(parts))
            except DecodeError:
                on_damage(f"{file} holds a record that is none of W&B's, before byte {at}")
            else:
                yield record
            parts = []


def _is_cut_off(log: bytes, at: int) -> bool:
    """Whether a frame that ends beyond the file was cut off there, and has not a wrong length but all of its bytes."""
    checksum, _, kind = FRAME.unpack_from(log, at)
    found = zlib.crc32(bytes([kind]))
    for place in range(at + FRAME.size, len(log)):
        found = zlib.crc32(log[place : place + 1], found)
        if found == checksum:
            return False
    return True


def write_log(file: Path, records: Iterable[Record]) -> None:
    """Writes a W&B log."""
    log = bytearray(HEADER)
    for record in records:
        rest, begun = record.SerializeToString(), False
        while rest or not begun:
            room = BLOCK - len(log) % BLOCK - FRAME.size
            if room < 0:
                log += bytes(room + FRAME.size)
                continue
            part, rest = rest[:room], rest[room:]
            kind = (LAST if begun else FULL) if not rest else (MIDDLE if begun else FIRST)
            log += FRAME.pack(zlib.crc32(bytes([kind]) + part), len(part), kind) + part
            begun = True
    file.write_bytes(log)


def join_rows(rows: Iterable[tuple[int, dict]]) -> dict[int, dict]:
    """The rows of a run by their global step, in its order, from all that was logged, in the order of logging.

    Where the step goes back, the run was resumed from a checkpoint: what had been logged beyond it is forgotten, and
    what is logged of the same step again takes the place of what was.
    """
    joined: dict[int, dict] = {}
    last = None
    for step, row in rows:
        if last is not None and step < last:
            joined = {known: values for known, values in joined.items() if known <= step}
        last = step
        joined[step] = joined.get(step, {}) | row
    return dict(sorted(joined.items()))
