"""Build the paper's tables and figures from the runs' W&B logs, as a report or on the terminal.

python -m analysis                            everything, into report/: open report/index.html
python -m analysis table1                     prints Table 1, and writes its files into report/
python -m analysis claims                     what the runs show about the paper's claims
python -m analysis --wandb ENTITY/PROJECT     from a W&B server instead of the folder of outputs
python -m analysis --archive results          into results/, together with the runs it is based on
python -m analysis --from results             the same report again, from there
python -m analysis --from results --outputs outputs --archive results     with runs made since
"""

import argparse
import importlib
import logging
import os
import sys
from pathlib import Path

from analysis.artefacts.artefact import Artefact
from analysis.reading.archive import read_archive, write_archive
from analysis.reading.cache import read_cached
from analysis.reading.runs import Runs
from src.runs.state import check_outputs
from src.utils.errors import UserError
from src.utils.printing import print_while_read
from src.utils.text import counted

# In the paper's order. Each is a module of analysis/artefacts with a function build(runs).
ARTEFACTS = [
    "figure4",
    "proposition1",
    "table1",
    "table2",
    "figure5",
    "figure6",
    "figure7",
    "table3",
    "figure8",
    "figure9",
    "figure10",
    "figure11",
    "table4",
    "table5",
    "table6",
    "figure12",
]
WITHOUT_RUNS = {"figure4"}


def build(names: list[str], runs: Runs) -> list[Artefact]:
    """Build the artefacts of these names."""
    return [importlib.import_module(f"analysis.artefacts.{name}").build(runs).without_lone_sections() for name in names]


def parse() -> argparse.Namespace:
    """Return the options of the command line, with `logs`: where to read runs, None if nowhere; a mistake ends it."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join([*ARTEFACTS, "claims"])
    parser.add_argument("artefacts", nargs="*", metavar="ARTEFACT", help=f"{names} (default: everything)")
    parser.add_argument("--outputs", type=Path, help="folder of the runs (default: outputs)")
    parser.add_argument("--wandb", metavar="ENTITY/PROJECT", help="read the runs from a W&B server instead of a folder")
    parser.add_argument(
        "--from",
        type=Path,
        metavar="FOLDER",
        dest="kept",
        help="read the runs from an archive; with --outputs or --wandb, from both",
    )
    parser.add_argument(
        "--report", type=Path, default=Path("report"), help="folder to write the report to (default: report)"
    )
    parser.add_argument(
        "--archive",
        type=Path,
        metavar="FOLDER",
        help="folder to write the report to, with the runs and images that it uses",
    )
    parser.add_argument("--unfinished", action="store_true", help="also use runs that have not finished or have failed")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.artefacts if name not in (*ARTEFACTS, "claims")]
    if unknown:
        parser.error(f"no artefact {', '.join(unknown)}; there are {names}")
    if arguments.outputs and arguments.wandb:
        parser.error("--outputs and --wandb exclude each other")
    if arguments.archive and arguments.artefacts:
        parser.error(f"--archive keeps a whole report; leave {' '.join(arguments.artefacts)} out")
    if arguments.artefacts and set(arguments.artefacts) <= WITHOUT_RUNS:
        arguments.kept = arguments.logs = None
        return arguments
    arguments.logs = arguments.wandb or arguments.outputs or (None if arguments.kept else Path("outputs"))
    if isinstance(arguments.logs, Path) and not arguments.logs.is_dir():
        parser.error(f"--outputs {arguments.logs}: no such folder; make runs with python -m src.run, or with a sweep")
    return arguments


def main() -> None:
    """Build what the command line asks for."""
    arguments = parse()
    logs = arguments.logs
    logging.basicConfig(format="%(message)s")
    try:
        runs = read_archive(arguments.kept, arguments.unfinished) if arguments.kept else Runs([])
        if isinstance(logs, Path):
            check_outputs(logs)
        if logs:
            runs = runs.joined(read_cached(logs, arguments.report / "data", arguments.unfinished))
        artefacts = report(arguments.artefacts, runs, arguments.archive or arguments.report)
        if isinstance(logs, Path) and not runs.all and not runs.unreadable:
            print(f"no run in {logs}: --outputs takes the folder of all runs, --from an archive", file=sys.stderr)
        if arguments.archive:
            archive(runs, artefacts, arguments.archive)
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; give the same command to start over")


def archive(runs: Runs, artefacts: list[Artefact], folder: Path) -> None:
    """Write the runs of a report into its folder, with the images that it shows."""
    from analysis.report.html_sources import runs_with_detections

    detections = {run.run_id: jpeg for _, run, jpeg in runs_with_detections(runs).values()}
    panels = [panel for artefact in artefacts for section in artefact.sections for panel in section.panels]
    write_archive(runs, folder, detections=detections, shown={panel.image for panel in panels if panel.image})


def report(names: list[str], runs: Runs, folder: Path) -> list[Artefact]:
    """Write the report of the artefacts of these names, or of all, and print a summary; return the artefacts."""
    from analysis.reading.settings import command_of
    from analysis.report.contents import ReportContents
    from analysis.report.markdown import claims_to_markdown, to_markdown
    from analysis.report.report import write_report

    claims = []
    if not names or "claims" in names:
        from analysis.claims import judge_claims

        claims = judge_claims(runs)
    # All of them, as the list of runs says what each number of any of them is from.
    artefacts = build(ARTEFACTS if runs.all or not names else [name for name in ARTEFACTS if name in names], runs)
    commands = {run.run_id: command_of(run) for run in runs.all}
    contents = ReportContents(artefacts=artefacts, claims=claims, runs=runs, commands=commands)
    files = write_report(contents, folder, names)
    if names:
        asked_for = [artefact for artefact in artefacts if artefact.name in names]
        texts = [*map(to_markdown, asked_for), *([claims_to_markdown(claims)] if claims else [])]
        print_while_read("\n\n".join(texts))
    left_out = [f"  {run.source}: {run.reason}" for run in runs.left_out] + [f"  {line}" for line in runs.unreadable]
    count = len(runs.counting)
    print(
        f"{counted(count, 'run')} {'counts' if count == 1 else 'count'}; {len(files)} files in {folder}{os.sep}",
        file=sys.stderr,
    )
    if left_out:
        print("\n".join(["left out:", *left_out]), file=sys.stderr)
    return artefacts


if __name__ == "__main__":
    main()
