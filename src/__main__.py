"""List the programs: `python -m src`."""

PROGRAMS = {
    "src.run": "train and test a detector, or with -m a sweep of runs, here or on SLURM",
    "src.inspect": "check the data of a run before it trains",
    "src.status": "show the state of runs and sweeps, and the commands for what is missing",
    "src.submit": "write the file for an evaluation server from a finished run",
    "src.sync": "upload runs that were logged offline to Weights & Biases",
    "src.linear": "test Proposition 1 on a linear model",
    "src.costs": "measure the time and memory of the losses",
    "analysis": "rebuild the paper's tables and figures from the runs' logs",
    "slurm.one_machine": "start or stop a SLURM on this machine, to try out sweeps",
}


def main() -> None:
    """Print the list."""
    print("Programs; each has --help:\n")
    for name, purpose in PROGRAMS.items():
        print(f"  python -m {name:<19}{purpose}")


if __name__ == "__main__":
    main()
