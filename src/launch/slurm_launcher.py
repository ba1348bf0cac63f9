"""Submits a sweep to SLURM as one array of jobs, frozen: what is submitted is what runs, whatever is edited later."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import submitit
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf, SlurmQueueConf
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from src.config.command import command_line
from src.launch import plugin
from src.launch.compose import Composer
from src.launch.program import program_of
from src.launch.slurm_job import FrozenRun
from src.runs.provenance import code_version
from src.runs.state import State, state
from src.utils import paths
from src.utils.errors import UserError
from src.utils.files import read_json, write_json

LARGEST_ARRAY = 1000  # SLURM's own default is 1001


@dataclass
class SlurmLauncherConfig(SlurmQueueConf):
    """`hydra.launcher` in a preset of slurm/: the keys of Hydra's own submitit launcher."""

    _target_: str = f"{plugin.MODULE}.SlurmLauncher"
    submitit_folder: str = "${hydra.sweep.dir}/.slurm/%j"
    max_num_timeout: int = 100
    # A process that fails takes those with it that work on the same run.
    srun_args: list[str] = field(default_factory=lambda: ["--kill-on-bad-exit=1"])


class SlurmLauncher(Launcher):
    """Submits what is not finished, running or queued, and returns at once.

    The array gets a copy of the code and the resolved configurations. Its jobs save a checkpoint when SLURM announces
    the end of their time, or that they must yield, and are queued again. Keywords are those of
    :class:`SlurmLauncherConfig`.
    """

    def __init__(self, **parameters: Any):
        plain = {key: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for key, v in parameters.items()}
        self.folder, self.max_num_timeout = plain.pop("submitit_folder"), plain.pop("max_num_timeout")
        self.parameters = {key: value for key, value in plain.items() if value is not None}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.loader, self.config = hydra_context.config_loader, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        self.program = program_of(self.config)
        compose = Composer(self.loader, self.config)
        typed = command_line(self.program.module, sys.argv[1:])
        queued = _queued()
        left_alone: dict[str, int] = {}
        todo = []
        for overrides in tqdm(job_overrides, desc="reading configurations", delay=2):
            config = compose(list(overrides))
            directory = compose.directory(config).absolute()
            config = self.program.resolve(config, overrides, typed)
            self._check_processes(config)
            reason = _reason_to_leave_alone(directory, config, queued)
            if reason is None:
                todo.append((directory, config, list(overrides)))
            else:
                left_alone[reason] = left_alone.get(reason, 0) + 1
        for reason, number in left_alone.items():
            print(f"{number} {reason}")
        for start in range(0, len(todo), LARGEST_ARRAY):
            self._submit(todo[start : start + LARGEST_ARRAY])
        return []

    def _check_processes(self, config: DictConfig) -> None:
        tasks = self.parameters["nodes"] * self.parameters["tasks_per_node"]
        if config.get("processes", 1) != tasks:
            raise UserError(
                f"processes={config.get('processes', 1)}, but hydra.launcher has {self.parameters['nodes']} nodes with "
                f"{self.parameters['tasks_per_node']} tasks each; a preset with several has "
                "tasks_per_node: ${processes}"
            )

    def _submit(self, todo: list[tuple[Path, DictConfig, list[str]]]) -> None:
        outputs = todo[0][0].parent
        code = freeze_code(outputs / ".code")
        common = set.intersection(*(set(overrides) for _, _, overrides in todo)) if len(todo) > 1 else set()
        runs = []
        for directory, config, overrides in todo:
            directory.mkdir(parents=True, exist_ok=True)
            plain = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
            name = " ".join([directory.name, *(override for override in overrides if override not in common)])
            runs.append(FrozenRun(self.program.module, plain, str(directory), str(code), os.getcwd(), name))
        jobs = self._executor(code).submit_array(runs)
        for (directory, _, overrides), job in zip(todo, jobs, strict=True):
            note = {"job": job.job_id, "overrides": overrides, "time": time.time()}
            note |= {"code": str(code), "log": str(job.paths.stdout)}
            write_json(directory / "submitted.json", note)
        array = jobs[0].job_id.partition("_")[0]
        print(f"{len(jobs)} submitted as job {array}; python -m src.status says how far they are")

    def _executor(self, code: Path) -> submitit.AutoExecutor:
        folder = os.path.abspath(self.folder)
        executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=self.max_num_timeout)
        common = {f.name for f in BaseQueueConf.__dataclass_fields__.values()}
        parameters = {key if key in common else f"slurm_{key}": value for key, value in self.parameters.items()}
        parameters["name"] = self.config.hydra.runtime.choices.get("sweeps") or parameters["name"]  # until they begin
        more = parameters.get("slurm_additional_parameters", {})
        # Python looks first for modules in the folder it is started in.
        parameters["slurm_additional_parameters"] = {"requeue": True, **more, "chdir": str(code)}
        executor.update_parameters(**parameters)
        return executor


def _reason_to_leave_alone(directory: Path, config: DictConfig, queued: set[str]) -> str | None:
    found = state(directory)
    if found == State.FINISHED:
        return "finished"
    if found == State.RUNNING:
        return "being worked on"
    submitted = read_json(directory / "submitted.json")
    if submitted is not None and submitted["job"] in queued:
        return "queued already"
    if found == State.FAILED and not config.get("retry", False):
        return "failed before; to try them again add retry=true. python -m src.status says why"
    return None


def _queued() -> set[str]:
    """The jobs of this user that wait or run, those of arrays as 12_3."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    try:
        # Clients wait for ever for a controller that is down.
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except FileNotFoundError:
        raise UserError("there is no squeue here: submit from a machine of the SLURM cluster") from None
    except subprocess.TimeoutExpired:
        raise UserError("SLURM's controller does not answer") from None
    except subprocess.CalledProcessError as error:
        raise UserError(f"{' '.join(command)}: {error.stderr.strip()}") from None
    return set(answer.stdout.split())


def freeze_code(folder: Path) -> Path:
    """A copy of this package in a folder of its own, one for each state of the code."""
    files = sorted(paths.SRC.rglob("*.py"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(paths.SRC)}\n".encode() + file.read_bytes())
    copy = folder / digest.hexdigest()[:10]
    if not copy.exists():
        temporary = folder / f".{copy.name}.{os.getpid()}"
        for file in files:
            target = temporary / paths.SRC.name / file.relative_to(paths.SRC)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        write_json(temporary / "code.json", code_version())
        temporary.rename(copy)
    return copy


def register_launcher() -> None:
    """Make :class:`SlurmLauncher` known to Hydra as `hydra/launcher=slurm`."""
    plugin.register_plugin(SlurmLauncher, "hydra/launcher", "slurm", SlurmLauncherConfig)
