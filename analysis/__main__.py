"""`python -m analysis ARTEFACT` prints a table of the paper or draws a figure, from the runs under a folder of outputs.

A figure goes to <report>/<artefact>.png and .pdf.
"""

import argparse
import logging
from pathlib import Path

from matplotlib.figure import Figure

from analysis import figure4, proposition1, table1
from analysis.runs import read_runs
from src.files import write_atomically

# Each has build(runs) and to_text(artefact); a figure also has draw(artefact).
ARTEFACTS = {"figure4": figure4, "proposition1": proposition1, "table1": table1}
WITHOUT_RUNS = {"figure4"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m analysis", description=__doc__)
    parser.add_argument("artefact", choices=sorted(ARTEFACTS), help="what to build")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="where runs are (default: outputs)")
    parser.add_argument("--report", type=Path, default=Path("report"), help="where figures go (default: report)")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    name, module = arguments.artefact, ARTEFACTS[arguments.artefact]
    if name not in WITHOUT_RUNS and not arguments.outputs.is_dir():
        command = getattr(module, "COMMAND", "python -m src.run")
        parser.error(f"--outputs {arguments.outputs}: no such folder; make runs with {command}")
    artefact = module.build([] if name in WITHOUT_RUNS else read_runs(arguments.outputs))
    print(module.to_text(artefact))
    if hasattr(module, "draw"):
        save(module.draw(artefact), arguments.report, name)


def save(figure: Figure, report: Path, name: str) -> None:
    """Writes a figure as PNG and PDF into a folder and prints their paths."""
    report.mkdir(parents=True, exist_ok=True)
    for kind in ("png", "pdf"):
        path = report / f"{name}.{kind}"
        write_atomically(path, lambda file, kind=kind: figure.savefig(file, format=kind, dpi=300))
        print(path)


if __name__ == "__main__":
    main()
