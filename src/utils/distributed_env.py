"""The number of processes, read without importing torch, as every composed configuration needs it."""

import os

from src.utils.errors import UserError

VARIABLES = ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS")  # of torchrun, and of SLURM's srun


def number_of_processes() -> int:
    """Return how many processes torchrun or SLURM's srun launched together; 1 if neither did.

    Raises:
        UserError: the environment variable with their number holds no number.
    """
    for name in VARIABLES:
        text = os.environ.get(name)
        if text:
            if not text.isdecimal() or int(text) < 1:
                raise UserError(f"the environment variable {name}={text} is no number of processes; unset it")
            return int(text)
    return 1


def source_of_processes(processes: int) -> str:
    """Return the environment variable that gives this number of processes, as NAME=NUMBER; "" if none does."""
    name = next((name for name in VARIABLES if os.environ.get(name)), "")
    return f"{name}={processes}" if processes > 1 and os.environ.get(name) == str(processes) else ""
