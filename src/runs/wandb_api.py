"""Connect to a W&B server."""

import os

import wandb

from src.runs.wandb_variables import wrong_settings_named
from src.utils.errors import UserError


def connect() -> wandb.Api:
    """Return W&B's client for the server and the API key of this machine's settings.

    By default, each of three tries may take 10 seconds, with 2 seconds between them. W&B's variables
    WANDB_X_GRAPHQL_TIMEOUT_SECONDS, WANDB_X_GRAPHQL_RETRY_MAX and WANDB_X_GRAPHQL_RETRY_WAIT_MAX_SECONDS set others.

    Raises:
        UserError: there is no key, or no server that accepts it and answers in that time, or a setting is wrong.
    """
    seconds = _number("WANDB_X_GRAPHQL_TIMEOUT_SECONDS", 10)
    retries = int(_number("WANDB_X_GRAPHQL_RETRY_MAX", 2))
    wait = _number("WANDB_X_GRAPHQL_RETRY_WAIT_MAX_SECONDS", 2)
    # By default, W&B's service retries for minutes. It must be the first to give up: a process that has given up a
    # request waits for the service as it exits, sometimes for ever (0.31).
    with wrong_settings_named():
        wandb.setup(
            wandb.Settings(
                x_graphql_timeout_seconds=seconds,
                x_graphql_retry_max=retries,
                x_graphql_retry_wait_min_seconds=wait,
                x_graphql_retry_wait_max_seconds=wait,
            )
        )
    try:
        return wandb.Api(timeout=int(2 * (retries + 1) * (seconds + wait)))
    except wandb.errors.UsageError as error:
        raise UserError(f"{error} Get a key at https://wandb.ai/authorize, or set WANDB_API_KEY") from None
    except wandb.Error as error:
        raise UserError(
            "W&B cannot be reached, or rejects this key: run this on a machine with access to it, such as a cluster's "
            f"login node, or after `wandb login --relogin`. {error}"
        ) from None


def _number(variable: str, default: float) -> float:
    """Return the number in an environment variable, or the default if it is not set."""
    text = os.environ.get(variable)
    try:
        return default if not text else float(text)
    except ValueError:
        raise UserError(f"{variable}={text} is not a number") from None
