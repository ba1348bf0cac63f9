"""Runs as two parquet files: a table of runs, and one of their histories."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from analysis.reading.runs import Run
from src.utils.files import write_atomically

FORMAT = "2"  # of what is kept, and of how logs are read; where it differs, all logs are read again
RUNS, HISTORIES = "runs.parquet", "histories.parquet"
TEXTS = ["run_id", "state", "reason", "started", "source"]
HISTORY_ENCODING: dict[str, Any] = {
    "use_dictionary": ["run_id", "key"],
    "column_encoding": {"global_step": "DELTA_BINARY_PACKED", "value": "BYTE_STREAM_SPLIT"},
}
DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException)  # raised for damaged files


def save(kept: Sequence[tuple[str, Run]], folder: Path, words: Mapping[str, str]) -> None:
    """Write runs, each with its mark, and a few words about them all.

    Raises:
        OSError: the folder cannot be created.
        UserError: a file cannot be written; the earlier ones remain, as neither is replaced before both are written.
    """
    runs = [run for _, run in kept]
    table: dict[str, list[Any]] = {name: [getattr(run, name) for run in runs] for name in TEXTS}
    table |= {name: [json.dumps(getattr(run, name)) for run in runs] for name in ("config", "objects")}
    table |= {"resumed": [run.resumed for run in runs], "rows": [len(run.values) for run in runs]}
    table |= {"mark": [mark for mark, _ in kept]}
    marks = hashlib.sha256("\0".join(table["mark"]).encode()).hexdigest()
    described = {**words, "format": FORMAT, "marks": marks}
    folder.mkdir(parents=True, exist_ok=True)
    histories = _histories(runs)

    def write_both(temporary: Path) -> None:
        _write(temporary, pa.table(table), described)
        write_atomically(folder / HISTORIES, lambda file: _write(file, histories, described, **HISTORY_ENCODING))

    write_atomically(folder / RUNS, write_both)


def about(folder: Path) -> dict[str, str]:
    """Return the words about the runs that `save` has written into a folder, with their `format`.

    Raises:
        one of DAMAGE: the files are missing or damaged.
    """
    metadata = parquet.read_schema(folder / RUNS).metadata or {}
    return {key.decode(): value.decode() for key, value in metadata.items()}


def load(folder: Path) -> list[tuple[str, Run]]:
    """Return the runs that `save` has written into a folder, with their marks.

    Raises:
        one of DAMAGE: the files are missing or damaged, or not of one `save`.
    """
    runs, histories = _read(folder / RUNS), _read(folder / HISTORIES)
    if runs.schema.metadata[b"marks"] != histories.schema.metadata.get(b"marks"):
        raise ValueError("its two files were not written together")
    return _restore(runs, histories)


def _histories(runs: list[Run]) -> pa.Table:
    """Return the columns run_id, global_step, key and value, run after run, and key after key, which take less room."""
    names: dict[str, int] = {}
    columns: list[list[np.ndarray]] = [[np.empty(0)], [np.empty(0)], [np.empty(0)]]
    for run in runs:
        numbers = [names.setdefault(key, len(names)) for key in run.values["key"].cat.categories]
        codes = run.values["key"].cat.codes.to_numpy()
        order = np.argsort(codes, kind="stable")
        # Without pandas, which would take NaN for a missing value.
        parts = run.values["global_step"].to_numpy(), np.array(numbers, np.int32)[codes], run.values["value"].to_numpy()
        for column, part in zip(columns, parts, strict=True):
            column.append(part[order])
    steps, keys, values = map(np.concatenate, columns)
    ids = np.repeat(np.arange(len(runs)), [len(run.values) for run in runs])
    return pa.table(
        {
            "run_id": _dictionary(ids, [run.run_id for run in runs]),
            "global_step": pa.array(steps, pa.int64()),
            "key": _dictionary(keys, list(names)),
            "value": pa.array(values, pa.float64()),
        }
    )


def _dictionary(codes: np.ndarray, words: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(words, pa.string()))


def _write(file: Path, table: pa.Table, words: dict[str, str], **options: Any) -> None:
    parquet.write_table(table.replace_schema_metadata(words), file, compression="zstd", **options)


def _read(file: Path) -> pa.Table:
    return parquet.ParquetFile(file, read_dictionary=["key", "run_id"] if file.name == HISTORIES else []).read()


def _restore(runs: pa.Table, histories: pa.Table) -> list[tuple[str, Run]]:
    rows = runs.to_pylist()
    keys = histories["key"].unify_dictionaries().combine_chunks()
    keys = keys.chunk(0) if isinstance(keys, pa.ChunkedArray) else keys
    dtype = pd.CategoricalDtype(keys.dictionary.to_pylist())
    codes = keys.indices.to_numpy()
    steps, values = histories["global_step"].to_numpy(), histories["value"].to_numpy()
    ends = np.cumsum([0, *(row["rows"] for row in rows)])
    if ends[-1] != len(values):
        raise ValueError("its histories are not complete")
    kept = []
    for row, start, end in zip(rows, ends[:-1], ends[1:], strict=True):
        order = start + np.argsort(steps[start:end], kind="stable")
        frame = pd.DataFrame(
            {
                "global_step": steps[order],
                "key": pd.Categorical.from_codes(codes[order], dtype=dtype),
                "value": values[order],
            }
        )
        texts = {name: row[name] for name in (*TEXTS, "resumed")}
        run = Run(**texts, values=frame, config=json.loads(row["config"]), objects=json.loads(row["objects"]))
        kept.append((row["mark"], run))
    return kept
