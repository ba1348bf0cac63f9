"""One run: build the detector, train it, test it, log it. `python -m src.run --help` lists the options."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from src.config.identity import identity, run_id, run_name, to_plain
from src.launch.cli import command
from src.launch.program import PROGRAMS
from src.utils.files import read_json

logger = logging.getLogger(__name__)


def run(config: DictConfig) -> Path:
    """Train and test what a resolved configuration describes, unless that has been done; return the run's folder."""
    # What needs torch is imported only here: that takes seconds, which --help and sending a sweep to a cluster spare.
    from src.runs.attempt import hold_run
    from src.utils.distributed import connect

    world = connect(config.processes)
    directory, name = Path(config.outputs, run_id(config)), run_name(config)
    summary = world.broadcast(read_json(directory / "summary.json"))
    if summary is None:
        from src.training.experiment import train_and_test

        with hold_run(directory, name, world, config.retry) as guard:
            if guard is not None:
                train_and_test(config, directory, name, world, guard)
        return directory
    if summary["data"]["root"] != config.dataset.root:
        from src.training.experiment import check_data

        check_data(config, directory)
    if "identity" not in summary and world.is_main:
        from src.runs.upgrade import log_identity

        log_identity(directory, name, to_plain(config), identity(config))
    logger.info("%s is finished: %s", name, directory)
    return directory


main = command(run, PROGRAMS["src.run"])

if __name__ == "__main__":
    main()
