"""Upload runs that were logged offline to W&B, from a machine that can reach it: `python -m src.sync`.

A run that was resumed arrives as one uninterrupted run. A run that is unchanged since its upload is skipped; one that
has changed replaces the one on the server. The exit code is 1 if a run could not be uploaded.
"""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from src.runs.state import check_outputs, read_run
from src.runs.wandb_api import connect
from src.runs.wandb_upload import find_offline_runs, upload_run
from src.utils.errors import UserError, exit_on_user_error


def sync(outputs: Path, only: list[str], project: str | None, entity: str | None, unfinished: bool) -> bool:
    """Upload the runs in a folder of outputs that have changed since their upload, and print a line for each.

    Args:
        only: ids of the runs to upload; all if empty.
        project, entity: where to; None for the logged ones.
        unfinished: whether to upload also runs without a summary.

    Returns:
        Whether all of them have arrived.

    Raises:
        UserError: there is no such run, no API key, or no server that accepts it; or the folder is that of one run.
    """
    check_outputs(outputs)
    folders = find_offline_runs(outputs)
    if missing := [run_id for run_id in only if run_id not in folders]:
        raise UserError(f"no run {', '.join(missing)} logged offline in {outputs}")
    if not folders:
        raise UserError(f"no run logged offline in {outputs}")
    api = connect()
    arrived = True
    for run_id in (bar := tqdm(only or folders, "upload", unit="run", disable=None)):
        try:
            if unfinished or read_run(folders[run_id]).summary is not None:
                outcome = upload_run(folders[run_id], project, entity, api)
            else:
                outcome = "not finished; add --all to upload what there is"
        except (UserError, OSError) as error:
            outcome, arrived = f"error: {error}", False
        bar.write(f"{run_id}: {outcome}")
    return arrived


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m src.sync", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="ids of the runs to upload (default: all)")
    parser.add_argument("--outputs", type=Path, default="outputs", help="folder of all runs (default: %(default)s)")
    parser.add_argument("--project", help="W&B project (default: as logged)")
    parser.add_argument("--entity", help="user or team (default: as logged, or the API key's owner)")
    parser.add_argument("--all", action="store_true", help="also upload unfinished runs, marked as failed")
    arguments = parser.parse_args()
    try:
        with exit_on_user_error():
            arrived = sync(arguments.outputs, arguments.runs, arguments.project, arguments.entity, arguments.all)
    except KeyboardInterrupt:
        raise SystemExit("stopped; run the same command again to upload the rest") from None
    sys.exit(0 if arrived else 1)


if __name__ == "__main__":
    main()
