"""One run: build the detector, train it, test it, log it. `python -m src.run --help` lists the options."""

import contextlib
import functools
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from src.config.identity import identity, run_id, run_name
from src.config.needs import needed_runs
from src.config.plain import to_plain
from src.config.validate import resolve
from src.launch.cli import command
from src.launch.program import PROGRAMS

if TYPE_CHECKING:
    from src.runs.log_again import Redo
    from src.runs.state import RunFolder
    from src.utils.distributed import World

logger = logging.getLogger(__name__)


def run(config: DictConfig) -> Path:
    """Train or test what a resolved configuration describes, unless it is finished; return the run's folder.

    Runs that it needs are made first.
    """
    # What needs torch is imported only here: it takes seconds, which --help and submitting a sweep can do without.
    from src.data.run_data import DataChanged, compare_data
    from src.runs.attempt import hold_run
    from src.runs.log_again import Redo
    from src.runs.state import read_run
    from src.utils.device import deterministic
    from src.utils.distributed import connect
    from src.utils.lost_peers import ended_with_peers

    world = connect(config.processes)
    directory, name = Path(config.outputs, run_id(config)), run_name(config)
    on_other_data, redo = None, Redo.NOTHING
    found = world.broadcast(read_run(directory) if world.is_main else None)
    if found.summary is not None:
        try:
            refreshed = world.on_main(
                lambda show_life: compare_data(
                    directory,
                    to_plain(config.dataset),
                    weights=config.model.get("weights"),
                    outputs=config.outputs,
                    workers=config.workers,
                    check_stop=show_life,
                )
            )
        except DataChanged as change:
            if not config.retry:
                raise
            on_other_data = change.noted
        else:
            redo = world.on_main(lambda _: _redo(found, config))
            if redo == Redo.NOTHING:
                from src.runs.upgrade import bring_up_to_date

                if world.is_main:
                    bring_up_to_date(directory, name, to_plain(config), identity(config), refreshed)
                logger.info("%s is finished: %s", name, directory)
                return directory
    from src.runs.wandb_network import check_server
    from src.training.attack import attack_and_test
    from src.training.experiment import train_and_test

    world.on_main(lambda _: check_server(config.wandb.mode))
    refused = found.refused_failure is not None and not config.retry  # `hold_run` will raise the error
    needed = {} if refused else _finish_needed(config, name, world)
    with hold_run(directory, name, world, retry=config.retry, redo=redo, on_other_data=on_other_data) as guard:
        if guard is not None:
            make = train_and_test if config.attack.name == "none" else attack_and_test
            watch = ended_with_peers(world, guard.exit_code) if world.waits_on_gpus else contextlib.nullcontext()
            with deterministic(config.deterministic), watch:
                make(config, directory, name, world=world, guard=guard, needed=needed)
    return directory


def _finish_needed(config: DictConfig, name: str, world: "World") -> dict[str, Path]:
    """Make the runs that a run needs, or wait for the processes that work on them; return their folders by key.

    Raises:
        UserError: one has failed; the message names it.
    """
    from src.runs.needed import needs_failed_run, wait_while_worked_on
    from src.runs.state import State, state

    folders = {}
    for needed in needed_runs(config):
        needed_config = resolve(needed.config, needed.overrides, config.command.typed)
        directory = Path(config.outputs, run_id(needed_config))
        needed_name = run_name(needed_config)
        while needed.key not in folders:
            logger.info("%s needs %s: %s", name, needed_name, directory)
            with needs_failed_run(name, needed_name, directory):
                run(needed_config)
            if world.broadcast(state(directory) in (State.FINISHED, State.UNLOGGED) if world.is_main else None):
                folders[needed.key] = directory
            else:
                world.on_main(functools.partial(wait_while_worked_on, directory))
    return folders


def _redo(found: "RunFolder", config: DictConfig) -> "Redo":
    """Return what of a finished run must be made again because its log is incomplete."""
    from src.runs.log_again import redo_for_log
    from src.training.checkpoint import keeps_all_rows

    # A test under attack is simply repeated.
    keeps = keeps_all_rows if config.attack.name == "none" else None
    return redo_for_log(found, config.wandb.mode, retry=config.retry, keeps_all_rows=keeps)


main = command(run, PROGRAMS["src.run"])

if __name__ == "__main__":
    main()
