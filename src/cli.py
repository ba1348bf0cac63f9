"""What `python -m src.run` and `python -m src.linear` do with a configuration: one run here, or a sweep."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from src.errors import UserError
from src.interruption import Interrupted

logger = logging.getLogger(__name__)
CONF = Path(__file__).parent.parent / "conf"


def command(
    run: Callable[[DictConfig], Any], resolve: Callable[[DictConfig], DictConfig], config_name: str
) -> Callable[[], None]:
    """The program that composes conf/<config_name>.yaml and calls `run` with it, or with each configuration of a sweep.

    What the user can mend is told without a traceback. A run of a sweep that fails leaves the others theirs.

    Args:
        resolve: makes what `run` works with of a configuration, or raises a UserError; asked before runs are submitted.
    """
    def task(config: DictConfig) -> None:
        here = HydraConfig.get()
        if here.mode == RunMode.RUN and here.runtime.choices["hydra/launcher"] == "slurm":
            raise SystemExit("error: what goes to SLURM is a sweep, if only of one run: add -m")
        try:
            run(config)
        except Interrupted as stop:
            logger.warning("%s", stop)
            raise SystemExit(128 + stop.signum) from None
        except UserError as error:
            if HydraConfig.get().mode == RunMode.RUN:
                raise SystemExit(f"error: {error}") from None
            logger.error("error: %s", error)
            raise
        except Exception:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                logger.exception("This run has failed; the others go on")
            raise

    task.resolve = resolve
    return hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(task)
