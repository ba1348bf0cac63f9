"""One run: build the detector, train it, test it, log it. `python -m src.run --help` tells the knobs."""

import functools
import logging
from pathlib import Path

from omegaconf import DictConfig

from src.cli import command
from src.config import describe, register, resolve, run_id
from src.files import read_json

logger = logging.getLogger(__name__)
register()


def run(config: DictConfig) -> Path:
    """Trains and tests what the configuration says, unless that has been done, and returns the run's folder."""
    # What needs torch is imported only here: that takes seconds, which --help and sending a sweep to a cluster spare.
    from src.distributed import connect
    from src.lifecycle import attempt

    config = resolve(config)
    processes = connect(config.processes)
    directory, name = Path(config.outputs, run_id(config)), describe(config)
    summary = processes.share(read_json(directory / "summary.json"))
    if summary is None:
        from src.experiment import train_and_test

        work = functools.partial(train_and_test, config, directory, name, processes)
        attempt(directory, name, work, processes, config.retry)
    else:
        if summary["data"]["root"] != config.dataset.root:
            from src.experiment import check_data

            check_data(config, directory)
        logger.info("%s is finished: %s", name, directory)
    return directory


main = command(run, resolve, "config")

if __name__ == "__main__":
    main()
