"""Show the state of the paper's tables and figures, of the sweeps that were launched, or of one run."""

import argparse
from dataclasses import replace
from pathlib import Path

from src.launch.cli import exit_on_wrong_configuration, given_value
from src.launch.program import PROGRAMS, program_of_sweep
from src.launch.status_text import describe_run, describe_sweeps
from src.launch.sweep_records import SweepRecord
from src.launch.sweep_runs import expand_sweep, labelled_sweeps
from src.runs.state import check_outputs
from src.utils import paths
from src.utils.errors import exit_on_user_error
from src.utils.printing import print_while_read
from src.utils.quoting import hydra_quoted

HELP = """
python -m src.status                                     every table and figure, and every sweep that was launched
python -m src.status sweeps=table1 recipe=voc seed=0,1   the runs of `python -m src.run -m` with these arguments
python -m src.status 6028a9a63d                          one run: its state, its log, and why it failed
"""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m src.status", description=__doc__, epilog=HELP, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", nargs="*", help="run ids, or arguments of `python -m src.run -m` (default: everything)")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="folder of all runs (default: outputs)")
    parser.add_argument("--program", choices=PROGRAMS, help="of the arguments (default: the sweep's, or src.run)")
    options = parser.parse_intermixed_args(arguments)
    with exit_on_user_error():
        paths.check_checkout()
    overrides = [word for word in options.what if "=" in word]
    outputs = Path(given_value(overrides, "outputs") or options.outputs)
    if outputs != Path("outputs") and not outputs.is_dir():
        parser.error(f"--outputs {outputs}: no such folder")
    with exit_on_user_error():
        check_outputs(outputs)
    runs = [_folder(word, outputs) for word in options.what if "=" not in word]
    texts = []
    for place in dict.fromkeys(run.parent for run in runs):
        records = [_with_outputs(record, place) for _, record in labelled_sweeps(place)]
        texts += [describe_run(run.name, place, records) for run in runs if run.parent == place]
    if not runs and not overrides:
        sweeps = [(label, _with_outputs(record, outputs)) for label, record in labelled_sweeps(outputs)]
        texts.append(describe_sweeps(sweeps, outputs, others_too=True))
    if overrides:
        sweep = given_value(overrides, "sweeps")
        record = expand_sweep(options.program or program_of_sweep(sweep), overrides, outputs)
        texts.append(describe_sweeps([(sweep or "as given", _with_outputs(record, outputs))], outputs))
    print_while_read("\n".join(texts))


def _folder(word: str, outputs: Path) -> Path:
    """Return the folder of a run that is given by its id or, as shell completion does, by its folder."""
    given = Path(word)
    if not given.is_dir():
        return outputs / word
    return given.resolve() if given.name in ("", "..") else given  # its name is the run's id


def _with_outputs(record: SweepRecord, outputs: Path) -> SweepRecord:
    """Return a sweep whose commands name the folder of outputs, unless they already do or it is the default one."""
    if outputs == Path("outputs") or any(word.startswith("outputs=") for word in record.arguments):
        return record
    word = f"outputs={hydra_quoted(str(outputs))}"
    runs = {name: [*overrides, word] for name, overrides in record.runs.items()}
    return replace(record, arguments=[*record.arguments, word], runs=runs)


if __name__ == "__main__":
    try:
        with exit_on_wrong_configuration():
            main()
    except KeyboardInterrupt:  # while it composes sweeps, or waits for SLURM's answer
        raise SystemExit("stopped") from None
