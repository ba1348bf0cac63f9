"""Presets that submit sweeps to a SLURM cluster, and a SLURM on one machine to try them on."""
