"""Keeps the runs that were read, as parquet: a table of runs, and one of their histories."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from analysis.reading.local import marks_of, read_local
from analysis.reading.runs import Run, Runs
from src.utils.errors import UserError
from src.utils.files import write_atomically

logger = logging.getLogger(__name__)
FORMAT = "2"  # of what is kept, and of how logs are read; where it differs, all logs are read again
RUNS, HISTORIES = "runs.parquet", "histories.parquet"
TEXTS = ["run_id", "state", "reason", "started", "source"]


def read_cached(source: Path | str, folder: Path, unfinished_too: bool = False) -> Runs:
    """Read all runs of a folder of outputs, or of a W&B server's ENTITY/PROJECT; of kept ones only those that changed.

    Args:
        folder: of runs.parquet and histories.parquet. If they cannot be used, they are made again.

    Raises:
        UserError: the server does not give the runs, or `folder` cannot be written to.
    """
    address = str(source.resolve()) if isinstance(source, Path) else source
    kept = _load(folder, address)
    if isinstance(source, Path):
        marks = marks_of(source)  # before reading: a log that grows meanwhile is read again the next time
        known = {name: run for name, (mark, run) in kept.items() if marks.get(name) == mark}
        runs = read_local(source, known)
    else:
        from analysis.reading.server import read_server  # only here, as wandb's client takes a second

        runs, marks = read_server(source, kept, folder / "images")
    # What could not be read is read again each time, so that it is reported each time.
    new = {
        run.source: (marks[run.source], run)
        for run in runs.all
        if not any(run.source in line for line in runs.unreadable)
    }
    if {name: mark for name, (mark, _) in new.items()} != {name: mark for name, (mark, _) in kept.items()}:
        try:
            _save(new, folder, address)
        except OSError as error:
            raise UserError(f"{folder}: the runs that were read cannot be kept there: {error.strerror}") from error
    return Runs(runs.all, runs.unreadable, unfinished_too)


def _save(kept: dict[str, tuple[str, Run]], folder: Path, address: str) -> None:
    runs = [run for _, run in kept.values()]
    table: dict[str, list[Any]] = {name: [getattr(run, name) for run in runs] for name in TEXTS}
    table |= {name: [json.dumps(getattr(run, name)) for run in runs] for name in ("config", "objects")}
    table |= {"resumed": [run.resumed for run in runs], "rows": [len(run.values) for run in runs]}
    table |= {"mark": [mark for mark, _ in kept.values()]}
    about = {
        "format": FORMAT,
        "address": address,
        "marks": hashlib.sha256("\0".join(table["mark"]).encode()).hexdigest(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / HISTORIES, _histories(runs), about)
    _write(folder / RUNS, pa.table(table), about)


def _histories(runs: list[Run]) -> pa.Table:
    """Return the columns run_id, global_step, key and value, run after run."""
    names: dict[str, int] = {}
    keys = [
        np.array([names.setdefault(k, len(names)) for k in run.values["key"].cat.categories], np.int32)[
            run.values["key"].cat.codes
        ]
        for run in runs
    ]
    counts = [len(run.values) for run in runs]
    empty = [np.empty(0)]
    return pa.table(
        {
            "run_id": _dictionary(np.repeat(np.arange(len(runs)), counts), [run.run_id for run in runs]),
            "global_step": pa.array(np.concatenate([run.values["global_step"] for run in runs] or empty), pa.int64()),
            "key": _dictionary(np.concatenate(keys or empty), list(names)),
            # Without pandas, which would take NaN for a missing value.
            "value": pa.array(np.concatenate([run.values["value"].to_numpy() for run in runs] or empty), pa.float64()),
        }
    )


def _dictionary(codes: np.ndarray, words: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(words, pa.string()))


def _write(file: Path, table: pa.Table, about: dict[str, str]) -> None:
    described = table.replace_schema_metadata(about)
    write_atomically(file, lambda temporary: parquet.write_table(described, temporary))


def _load(folder: Path, address: str) -> dict[str, tuple[str, Run]]:
    """Return the kept runs with their marks by their sources; none if there are none of this address and format."""
    if not (folder / RUNS).exists():
        return {}
    try:
        runs, histories = _read(folder / RUNS), _read(folder / HISTORIES)
        about, about_histories = _about(runs), _about(histories)
        if about.get("format") != FORMAT or about.get("address") != address:
            return {}
        if about["marks"] != about_histories.get("marks"):
            raise ValueError("its two files were not written together")
        return _restore(runs, histories)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        logger.warning("%s is damaged, so all logs are read again: %s", folder, error)
        return {}


def _read(file: Path) -> pa.Table:
    return parquet.ParquetFile(file, read_dictionary=["key", "run_id"] if file.name == HISTORIES else []).read()


def _about(table: pa.Table) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}


def _restore(runs: pa.Table, histories: pa.Table) -> dict[str, tuple[str, Run]]:
    rows = runs.to_pylist()
    keys = histories["key"].unify_dictionaries().combine_chunks()
    keys = keys.chunk(0) if isinstance(keys, pa.ChunkedArray) else keys
    dtype = pd.CategoricalDtype(keys.dictionary.to_pylist())
    codes = keys.indices.to_numpy()
    steps, values = histories["global_step"].to_numpy(), histories["value"].to_numpy()
    ends = np.cumsum([0, *(row["rows"] for row in rows)])
    if ends[-1] != len(values):
        raise ValueError("its histories are not complete")
    kept = {}
    for row, start, end in zip(rows, ends[:-1], ends[1:], strict=True):
        frame = pd.DataFrame(
            {
                "global_step": steps[start:end],
                "key": pd.Categorical.from_codes(codes[start:end], dtype=dtype),
                "value": values[start:end],
            }
        )
        about = {name: row[name] for name in (*TEXTS, "resumed")}
        run = Run(**about, values=frame, config=json.loads(row["config"]), objects=json.loads(row["objects"]))
        kept[row["source"]] = row["mark"], run
    return kept
