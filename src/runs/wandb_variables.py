"""W&B's environment variables that would contradict the configuration of a run."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from src.utils.errors import UserError

logger = logging.getLogger(__name__)

# Variables that would make W&B log the run under another id, resume another run, write elsewhere or not at all, or
# change the logged configuration. `wandb agent` sets some of them. Tags, notes, group, job type, API key, server and
# whatever concerns the network or the machine are left to the user.
OVERRULED = (
    *("WANDB_MODE", "WANDB_DISABLED", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_NAME", "WANDB_DIR"),
    *("WANDB_RUN_ID", "WANDB_RESUME", "WANDB_RESUME_FROM", "WANDB_FORK_FROM", "WANDB_REINIT"),
    *("WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_LAUNCH", "WANDB_LAUNCH_CONFIG_PATH", "WANDB_CONFIG_PATHS"),
    *("WANDB_USE_DOT_WANDB", "WANDB_X_FILES_DIR", "WANDB__FILES_DIR"),
    *("WANDB_X_SKIP_TRANSACTION_LOG", "WANDB__SKIP_TRANSACTION_LOG"),
)
NOTHING = ("", "false", "0")


@contextmanager
def wrong_settings_named() -> Iterator[None]:
    """Raise a UserError that names the variable where W&B cannot use its value."""
    from pydantic import ValidationError  # only here, as its import takes long

    try:
        yield
    except ValidationError as error:
        problem = error.errors()[0]
        variable = f"WANDB_{'_'.join(map(str, problem['loc'])).upper()}"
        raise UserError(f"W&B cannot use the environment variable {variable}: {problem['msg']}") from None


def overrule_variables(directory: Path, name: str, *, mode: str, project: str, entity: str | None) -> None:
    """Unset variables that would contradict the configuration, and log in one line which had another value.

    WANDB_ENTITY is respected if the configuration gives no entity.

    Args:
        directory: the run's folder.
        name: the run's name.
        mode, project, entity: as configured.
    """
    configured = {
        "WANDB_MODE": ("wandb.mode", mode),
        "WANDB_DISABLED": ("wandb.mode", mode),
        "WANDB_PROJECT": ("wandb.project", project),
        "WANDB_ENTITY": ("wandb.entity", entity),
        "WANDB_NAME": ("name", name),
        "WANDB_DIR": ("folder", str(directory)),
        "WANDB_RUN_ID": ("id", directory.name),
        "WANDB_RESUME": ("resume", "allow"),
    }
    # A program that logs to W&B passes its service on to the programs it starts, which would end with it.
    if f"-{os.getpid()}-" not in os.environ.get("WANDB_SERVICE", ""):
        os.environ.pop("WANDB_SERVICE", None)
    ineffective = []
    for variable in OVERRULED:
        if variable == "WANDB_ENTITY" and entity is None:
            continue
        key, value = configured.get(variable, ("", None))
        text = os.environ.pop(variable, "")
        if text.lower() not in NOTHING and text != value:
            ineffective.append(f"{variable}={text}" + (f" ({key}={value})" if key else ""))
    if ineffective:
        logger.warning("The configuration decides, so these have no effect: %s", ", ".join(ineffective))
