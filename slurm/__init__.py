"""SLURM for the sweeps: one on this machine, to try them before the cluster."""
