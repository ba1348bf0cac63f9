"""One run: build the detector, train it, test it, log it. `python -m src.run --help` lists the options."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from src.config.identity import identity, run_id, run_name, to_plain
from src.launch.cli import command
from src.launch.program import PROGRAMS

logger = logging.getLogger(__name__)


def run(config: DictConfig) -> Path:
    """Train and test what a resolved configuration describes, unless that has been done; return the run's folder."""
    # What needs torch is imported only here: that takes seconds, which --help and sending a sweep to a cluster spare.
    from src.data.run_data import DataChanged, compare_data
    from src.runs.attempt import hold_run
    from src.utils.distributed import connect

    world = connect(config.processes)
    directory, name = Path(config.outputs, run_id(config)), run_name(config)
    on_other_data = None
    if world.broadcast((directory / "summary.json").exists()):
        try:
            refreshed = world.on_main(
                lambda wait: compare_data(
                    directory,
                    to_plain(config.dataset),
                    outputs=config.outputs,
                    workers=config.workers,
                    check_stop=wait,
                )
            )
        except DataChanged as change:
            if not config.retry:
                raise
            on_other_data = change.noted
        else:
            from src.runs.upgrade import bring_up_to_date

            if world.is_main:
                bring_up_to_date(directory, name, to_plain(config), identity(config), refreshed)
            logger.info("%s is finished: %s", name, directory)
            return directory
    from src.runs.wandb_network import check_server
    from src.training.experiment import train_and_test

    world.on_main(lambda wait: check_server(config.wandb.mode))
    with hold_run(directory, name, world, retry=config.retry, on_other_data=on_other_data) as guard:
        if guard is not None:
            train_and_test(config, directory, name, world, guard)
    return directory


main = command(run, PROGRAMS["src.run"])

if __name__ == "__main__":
    main()
