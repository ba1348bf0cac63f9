"""`python -m analysis ARTEFACT` prints a table of the paper, from the runs under a folder of outputs."""

import argparse
import logging
from pathlib import Path

from analysis import table1
from analysis.runs import read_runs

ARTEFACTS = {"table1": table1}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m analysis", description=__doc__)
    parser.add_argument("artefact", choices=sorted(ARTEFACTS), help="what to build")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="where runs are (default: outputs)")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    if not arguments.outputs.is_dir():
        parser.error(f"--outputs {arguments.outputs}: no such folder; make runs with python -m src.run")
    artefact = ARTEFACTS[arguments.artefact]
    print(artefact.to_text(artefact.build(read_runs(arguments.outputs))))


if __name__ == "__main__":
    main()
