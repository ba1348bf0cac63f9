"""Lists the programs: `python -m src`."""

PROGRAMS = {
    "src.run": "trains and tests a detector, or with -m a sweep of them, here or on SLURM",
    "src.status": "shows how far runs and sweeps are, and the command for what is missing",
    "src.sync": "uploads runs that were logged offline to Weights & Biases",
    "src.linear": "tries Proposition 1 on a linear model",
    "src.costs": "measures what the losses cost in time and memory",
    "analysis": "rebuilds the paper's tables and figures from the runs' logs",
}

if __name__ == "__main__":
    print("Programs; each explains itself with --help:\n")
    for name, purpose in PROGRAMS.items():
        print(f"  python -m {name:<12}{purpose}")
