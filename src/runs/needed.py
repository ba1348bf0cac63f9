"""Wait for a run that another one needs, and report when it has failed."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from src.runs.state import State, read_run
from src.utils.errors import UserError, explain
from src.utils.signals import Interrupted, Interruption

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0


@contextmanager
def needs_failed_run(name: str, needed: str, directory: Path) -> Iterator[None]:
    """Add to an error of a needed run the name of the run that needs it, if the error can be explained.

    Args:
        name: of the run that needs the other one.
        needed: the other's name.
        directory: its folder.
    """
    try:
        yield
    except Interrupted:
        raise
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        raise UserError(f"{name} needs {needed} ({directory}), which has failed: {message}") from error


def wait_while_worked_on(directory: Path, show_life: Callable[[], None] = lambda: None) -> None:
    """Wait until no process works on a run any more: it has finished or failed, or its process is gone.

    Args:
        directory: the run's folder.
        show_life: called every few seconds.

    Raises:
        Interrupted: a signal to stop has arrived.
    """
    said = False
    with Interruption() as interruption:
        while (found := read_run(directory)).state == State.RUNNING:
            if not said and found.lock is not None:
                said = True
                holder = f"process {found.lock.get('pid')} on {found.lock.get('host')}"
                logger.info("Waiting for %s, on which %s works", directory, holder)
            interruption.check()
            show_life()
            time.sleep(LOOK_EVERY_S)
