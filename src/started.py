"""How this process was started."""

import os


def number_of_processes() -> int:
    """How many processes were started together, by torchrun or by SLURM's srun."""
    return int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_STEP_NUM_TASKS") or 1)
