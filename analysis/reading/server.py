"""Reads runs from a W&B server."""

from datetime import datetime
from pathlib import Path
from typing import Any

import wandb
from tqdm import tqdm
from wandb.sdk.lib.service.service_connection import WandbApiFailedError

from analysis.reading.runs import FAILED, FINISHED, UNFINISHED, Run, Runs, make_run
from src.runs.wandb_api import connect
from src.utils.errors import UserError

# What W&B's client raises if a server does not answer, or refuses more requests: the last, if amid a history.
NO_ANSWER = (ValueError, OSError, wandb.Error, WandbApiFailedError)
# W&B's states of a run that has ended without finishing.
ENDED = {"failed": "it failed", "crashed": "it stopped sending", "killed": "it was killed"}


def read_server(path: str, known: dict[str, tuple[str, Run]], images: Path) -> tuple[Runs, dict[str, str]]:
    """Read all runs of a project, in the order of their ids.

    Args:
        path: ENTITY/PROJECT.
        known: runs by their addresses, each with its mark when it was read; with the same mark it is not read again.
            Each run that is read is added, so that it is known even if a later one cannot be read.
        images: a folder for the last images that runs have logged.

    Returns:
        The runs, and by their addresses a mark that changes when they do.

    Raises:
        UserError: `path` is no such path, the API key or the project does not exist, or the server does not answer.
    """
    if path.count("/") != 1 or not all(path.split("/")):
        raise UserError(f"--wandb {path}: give it as ENTITY/PROJECT")
    api = connect()
    try:
        there = api.runs(path, per_page=100)
        count = len(there)  # the first request, whose error tqdm would end with a line of its own
        listed = list(tqdm(there, "list", total=count, unit="run", disable=None, leave=False))
        marks = {run.url: f"{run.state} {run.heartbeat_at} {run.history_line_count}" for run in listed}
        runs = []
        for run in tqdm(listed, "read", unit="run", disable=None, leave=False):
            if run.url not in known or known[run.url][0] != marks[run.url]:
                known[run.url] = marks[run.url], _read(run, images)
            runs.append(known[run.url][1])
    except NO_ANSWER as error:
        raise UserError(f"--wandb {path}: {api.settings['base_url']} does not give its runs: {error}") from None
    return Runs(sorted(runs, key=lambda run: run.run_id)), marks


def _read(run: Any, images: Path) -> Run:
    state = {"finished": FINISHED, **dict.fromkeys(ENDED, FAILED)}.get(run.state, UNFINISHED)
    reason = "" if state == FINISHED else ENDED.get(run.state, f"it is {run.state}")
    # Without keys: with them, rows that lack one are left out. W&B's own cache is not needed.
    rows = list(run.scan_history(use_cache=False))
    read = make_run(
        run.id,
        run.config,
        rows,
        state,
        reason,
        started=datetime.fromisoformat(run.created_at).isoformat(),
        source=run.url,
    )
    for value in read.objects.values():
        if isinstance(value, dict) and value.get("_type") == "image-file":
            _download(run, value, images / run.id)
    return read


def _download(run: Any, image: dict[str, Any], folder: Path) -> None:
    """Download an image and set its path; without the path if the server does not give it, as it is only a sample."""
    name = image.pop("path", "")
    try:
        image["path"] = run.file(name).download(root=str(folder), exist_ok=True).name
    except NO_ANSWER:
        tqdm.write(f"{run.url}: its image {name} cannot be downloaded")
