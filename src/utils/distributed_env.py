"""The number of processes, read without importing torch since every composed configuration needs it."""

import os


def number_of_processes() -> int:
    """Return how many processes torchrun or SLURM's srun launched together; 1 if neither did."""
    return int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_STEP_NUM_TASKS") or 1)
