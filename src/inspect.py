"""Check the data of a run before it trains: `python -m src.inspect` with the overrides of `python -m src.run`.

Prints what each split contains, at the resolution the detector is trained at, and what looks wrong; lists that file by
file in <outputs>/inspect/*.csv, and draws a dozen training samples as the network receives them. Trains nothing.

    python -m src.inspect recipe=folder dataset.root=DIR
"""

import dataclasses
import sys
from pathlib import Path

from omegaconf import DictConfig

from src.launch.cli import command
from src.launch.program import PROGRAMS

FOLDER = "inspect"  # in the folder of all outputs


def inspect(config: DictConfig) -> None:
    """Print a description of the data of a resolved configuration, and draw training samples.

    Raises:
        UserError: a run would refuse the data.
    """
    from src.training.inspection_report import inspect_data

    inspect_data(config, Path(config.outputs, FOLDER))


def main() -> None:
    """Compose the configuration as `python -m src.run` does, and inspect its data."""
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        print(f"{__doc__}\nIts options are those of `python -m src.run --help`.")
        return
    if {"-m", "--multirun"} & set(words):
        raise SystemExit("error: python -m src.inspect looks at the data of one run; leave out -m")
    # Not into the log of the run itself, which may exist.
    sys.argv.append(f"hydra.job_logging.handlers.file.filename=${{outputs}}/{FOLDER}/run.log")
    command(inspect, dataclasses.replace(PROGRAMS["src.run"], module="src.inspect"))()


if __name__ == "__main__":
    main()
