"""How far the runs are: of the paper's tables and figures, of the sweeps that were asked for, or one run."""

import argparse
import re
import sys
import time
from collections import Counter
from pathlib import Path

from hydra.errors import HydraException
from omegaconf import OmegaConf

from src.config.command import command_line
from src.launch.program import PROGRAMS
from src.launch.sweep_runs import SweepRecord, expand_sweep, recorded_sweeps
from src.runs.run_lock import read_lock
from src.runs.state import State, state
from src.utils import paths
from src.utils.files import read_json

SHOWN = [State.FINISHED, State.RUNNING, State.SUBMITTED, State.INTERRUPTED, State.FAILED, State.MISSING]
HELP = """
python -m src.status                                     every table and figure, and every sweep that was started
python -m src.status sweeps=table1 recipe=voc seed=0,1   what `python -m src.run -m` with these arguments has
python -m src.status 6028a9a63d                          one run: its state, its log, and why it failed
"""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m src.status", description=__doc__, epilog=HELP, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", nargs="*", help="run ids, or arguments of `python -m src.run -m`; nothing: everything")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="where runs are (default: outputs)")
    parser.add_argument("--program", choices=PROGRAMS, help="whose arguments these are (default: src.run)")
    options = parser.parse_args(arguments)
    ids = [word for word in options.what if "=" not in word]
    overrides = [word for word in options.what if "=" in word]
    for override in overrides:
        if override.startswith("outputs="):
            options.outputs = Path(override.removeprefix("outputs="))
    for run_id in ids:
        print(explain(run_id, options.outputs))
    if overrides:
        sweep = next((word.removeprefix("sweeps=") for word in overrides if word.startswith("sweeps=")), None)
        asked = expand_sweep(options.program or program(sweep), overrides, options.outputs)
        print(report([(sweep or "as given", asked)], options.outputs))
    elif not ids:
        print(report(everything(options.outputs), options.outputs))


def everything(outputs: Path) -> list[tuple[str, SweepRecord]]:
    """All sweeps that were started, and each file of sweeps/ that was not."""
    made = [expand_sweep(asked.program, asked.arguments, outputs) for asked in recorded_sweeps(outputs)]
    made = {tuple(asked.arguments): asked for asked in made}
    found = []
    for file in sorted(paths.SWEEPS.glob("*.yaml"), key=lambda f: [int(x) if x.isdigit() else x for x in _parts(f)]):
        arguments = [f"sweeps={file.stem}"]
        of_it = [key for key in made if arguments[0] in key] or [None]
        for key in of_it:
            asked = made.pop(key) if key else expand_sweep(program(file.stem), arguments, outputs)
            found.append((file.stem, asked))
    return found + [("", asked) for asked in made.values()]


def _parts(file: Path) -> list[str]:
    return re.split(r"(\d+)", file.stem)


def program(sweep: str | None) -> str:
    """Return the program whose sweep a file of sweeps/ is."""
    file = paths.SWEEPS / f"{sweep}.yaml"
    content = OmegaConf.load(file) if file.exists() else OmegaConf.create()
    return OmegaConf.select(content, "hydra.sweeper.program") or "src.run"


def report(sweeps: list[tuple[str, SweepRecord]], outputs: Path) -> str:
    """A row for each sweep with the number of its runs in each state, and what can be done about the others."""
    folders = {name for _, asked in sweeps for name in asked.runs}
    states = {name: state(outputs / name) for name in folders}
    rows = [["", "runs", *SHOWN]]
    for label, asked in sweeps:
        counts = Counter(states[name] for name in asked.runs)
        rows.append([label or "sweep", str(len(asked.runs)), *(str(counts[s] or "–") for s in SHOWN)])
    counts = Counter(states.values())
    rows.append(["all together", str(len(states)), *(str(counts[s] or "–") for s in SHOWN)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for label, *cells in rows:
        aligned = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        lines.append("  ".join([label.ljust(widths[0]), *aligned]))
    todo = []
    for _, asked in sweeps:
        left = [s for s in (states[name] for name in asked.runs) if s in ("interrupted", "failed", "missing")]
        if left:
            todo.append(f"  {asked.command}{' retry=true' if State.FAILED in left else ''}")
    if todo:
        lines += ["", "What is missing, interrupted or failed is made by", *todo]
    failed = [name for name, found in states.items() if found == State.FAILED]
    if failed:
        lines += ["", "Failed (python -m src.status ID tells more):"]
        lines += [f"  {name}  {read_json(outputs / name / 'failed.json')['error']}" for name in sorted(failed)]
    return "\n".join(lines)


def explain(run_id: str, outputs: Path) -> str:
    """All that the folder of a run tells."""
    directory = outputs / run_id
    found = state(directory)
    summary, submitted = read_json(directory / "summary.json"), read_json(directory / "submitted.json")
    failure, claim = read_json(directory / "failed.json"), read_lock(directory) if directory.is_dir() else None
    lines = [f"{run_id}  {found}"]
    known = [asked for _, asked in everything(outputs) if run_id in asked.runs]
    if summary is not None:
        metrics = summary["metrics"]
        metrics = ", ".join(f"{key} {metrics[key]:.4g}" for key in ("AP", "AP50", "ap_loss") if key in metrics)
        lines += [f"  {summary['name']}", f"  {metrics} after {summary['seconds']:.0f} s; {directory / 'summary.json'}"]
    for asked in known:
        lines += [f"  part of     {asked.command}"]
    overrides = known[0].runs[run_id] if known else (submitted or {}).get("overrides")
    if overrides is not None:
        local = [word for word in overrides if not word.startswith(("sweeps=", "slurm="))]
        lines += [f"  made by     {command_line(known[0].program if known else 'src.run', local)}"]
    if found == State.MISSING and not known:
        lines += [f"  there is no {directory}, and no sweep that has such a run"]
    if submitted is not None:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(submitted["time"]))
        lines += [f"  submitted   {when} as job {submitted['job']}, with the code in {submitted['code']}"]
        lines += [f"  SLURM's log {submitted['log']}"]
    if claim is not None:
        doing = "is at it" if claim["alive"] else "was the last at it"
        job = f", SLURM job {claim['job']}" if claim.get("job") else ""
        lines += [f"  process     {claim.get('pid')} on {claim.get('host')}{job} {doing}"]
    for name, what in (("checkpoint.pt", "checkpoint"), ("run.log", "log"), ("config.yaml", "knobs")):
        file = directory / name
        if file.exists():
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(file.stat().st_mtime))
            lines += [f"  {what.ljust(11)} {file}, {when}"]
    if failure is not None and found == State.FAILED:
        lines += [f"  failed      {failure['error']}", "", failure["traceback"].rstrip()]
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        main()
    except HydraException as error:
        sys.exit(f"error: {error}")
