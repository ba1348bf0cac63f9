"""Test Proposition 1: a linear model learns to rank. `python -m src.linear --help` lists the options."""

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from src.config.linear import linear_identity, linear_run_id
from src.config.plain import to_plain
from src.launch.cli import command
from src.launch.program import PROGRAMS

if TYPE_CHECKING:
    from src.runs.attempt import RunGuard

logger = logging.getLogger(__name__)


def run(config: DictConfig) -> Path:
    """Train what a resolved configuration describes, unless it is finished; return the run's folder."""
    from src.runs.attempt import hold_run
    from src.runs.log_again import Redo, redo_for_log
    from src.runs.state import read_run
    from src.runs.wandb_network import check_server
    from src.utils.distributed import World

    directory, identity = Path(config.outputs, linear_run_id(config)), linear_identity(config)
    name = " ".join(str(value) for group in ("problem", "method") for value in identity[group].values())
    found, redo = read_run(directory), Redo.NOTHING
    if found.summary is not None:
        redo = redo_for_log(found, config.wandb.mode, retry=config.retry)
        if redo == Redo.NOTHING:
            from src.runs.upgrade import bring_up_to_date

            bring_up_to_date(directory, name, to_plain(config), identity)
            logger.info("%s is finished: %s", name, directory)
            return directory
    check_server(config.wandb.mode)
    with hold_run(directory, name, World(), retry=config.retry, redo=redo) as guard:
        if guard is not None:
            descend_and_log(config, directory, name, guard)
    return directory


def descend_and_log(config: DictConfig, directory: Path, name: str, guard: "RunGuard") -> None:
    """Minimise the AP-loss of a problem, log each step, and leave everything in the run's folder."""
    import torch

    from src.data.linear_problems import build_problem
    from src.runs.lineage import describe_attempt
    from src.runs.log_parts import ATTEMPT, note_parts
    from src.runs.tracking import Tracker, environment
    from src.training.linear_model import build_loss, descend
    from src.utils.files import write_atomically, write_json

    start = time.time()
    problem, method = build_problem(**config.problem), config.method
    loss = build_loss(method.name, method.step, method.delta)
    facts: dict[str, Any] = {"run_id": directory.name, "identity": linear_identity(config)}
    facts["environment"] = environment(torch.device("cpu"))
    facts["attempts"] = [describe_attempt(guard.attempt)]  # only one, as each starts from the beginning
    write_atomically(directory / "config.yaml", lambda file: OmegaConf.save(config, file))
    logged = {**to_plain(config), **facts, ATTEMPT: guard.attempt}
    with Tracker(directory, name, logged, **config.wandb) as tracker:
        for values in descend(problem, loss, method.learning_rate, config.steps):
            guard.note_step()
            guard.check_stop()
            tracker.log(values)
            tracker.step += 1
    reached = tracker.step - 1 if values["ap_loss"] == 0 else None
    summary = {"name": name, "metrics": {**values, "steps_to_zero": reached}, **facts}
    summary |= {"command": to_plain(config.command), "log": note_parts(directory)}
    write_json(directory / "summary.json", {**summary, "seconds": time.time() - start})
    outcome = f"{values['ap_loss']:.4f} after {config.steps} steps" if reached is None else f"0 after {reached} steps"
    logger.info("AP-loss %s (%s): %s", outcome, name, directory)


main = command(run, PROGRAMS["src.linear"])

if __name__ == "__main__":
    main()
