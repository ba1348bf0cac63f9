"""The command line of `python -m src.run` and `python -m src.linear`: one run here, or a sweep."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from src.config.command import command_line
from src.launch.hydra_setup import register
from src.launch.program import Program
from src.utils import paths
from src.utils.errors import UserError, exit_on_user_error
from src.utils.files import share_with_group
from src.utils.signals import Interrupted

logger = logging.getLogger(__name__)


def command(run: Callable[[DictConfig], Any], program: Program) -> Callable[[], None]:
    """Return the main function of a program, which composes a configuration, or those of a sweep, and runs each.

    User errors print without a traceback. If a run of a sweep fails, the sweep continues.

    Args:
        run: called with each resolved configuration.
    """
    # OpenMP's threads spin while they wait for each other. Where cores are shared, with the processes that load images
    # or with other runs, long spinning makes a training step up to ten times slower; short spinning costs nothing
    # elsewhere. Torch reads this variable when it is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    register()

    def task(config: DictConfig) -> None:
        context = HydraConfig.get()
        if context.mode == RunMode.RUN and context.runtime.choices["hydra/launcher"] == "slurm":
            raise SystemExit("error: slurm=... submits a sweep; add -m, even for one run")
        try:
            typed = command_line(program.module, sys.argv[1:])
            run(program.resolve(config, context.overrides.task, typed))
        except Interrupted as stop:
            logger.warning("%s", stop)
            raise SystemExit(128 + stop.signum) from None
        except UserError as error:
            if context.mode == RunMode.RUN:
                raise SystemExit(f"error: {error}") from None
            logger.error("error: %s", error)
            raise
        except Exception:
            if context.mode == RunMode.MULTIRUN:
                logger.exception("This run has failed; the sweep continues")
            raise

    hydra_main = hydra.main(version_base="1.3", config_path=str(paths.CONF), config_name=program.config_name)(task)

    def main() -> None:
        with exit_on_user_error():
            paths.check_checkout()
        given = [word.partition("=")[2] for word in sys.argv[1:] if word.startswith("outputs=")]
        share_with_group(Path(given[-1] if given else "outputs"))  # before Hydra creates the run's folder in it
        hydra_main()

    return main
