"""A SLURM on one machine, in one directory; `python -m slurm.one_machine --help`."""
