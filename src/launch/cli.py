"""The command line of `python -m src.run` and `python -m src.linear`: one run here, or a sweep."""

import io
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from src.config.command import command_line, is_in, key_of
from src.config.registry import unused_options
from src.config.value_ranges import check_ranges
from src.launch.hydra_setup import register
from src.launch.presets import check_arguments, similar_key
from src.launch.program import Program
from src.runs.state import check_outputs
from src.utils import paths
from src.utils.distributed_env import source_of_processes
from src.utils.errors import UserError, explain
from src.utils.files import share_with_group
from src.utils.quoting import hydra_quoted, override, shell_quoted
from src.utils.signals import Interrupted

logger = logging.getLogger(__name__)


def command(run: Callable[[DictConfig], Any], program: Program) -> Callable[[], None]:
    """Return the main function of a program, which composes one configuration or those of a sweep, and runs each.

    Errors that can be explained print without a traceback. If a run of a sweep fails, the sweep continues.

    Args:
        run: called with each resolved configuration.
    """
    # OpenMP's threads spin while they wait for each other. If cores are shared with image-loading processes or other
    # runs, long spinning makes a training step up to ten times slower; otherwise short spinning costs nothing. Torch
    # reads this variable when it is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    register()

    def task(config: DictConfig) -> None:
        context = HydraConfig.get()
        try:
            if context.mode == RunMode.RUN:
                _refuse_parts_of_sweeps(context.runtime.choices)
            typed = command_line(program.module, sys.argv[1:])
            resolved = program.resolve(config, context.overrides.task, typed)
            Path(context.job_logging["handlers"]["file"]["filename"]).parent.mkdir(parents=True, exist_ok=True)
            _say_where_processes_are_from(resolved.get("processes", 1))
            if context.mode == RunMode.RUN and "loss" in resolved:
                say_what_has_no_effect(resolved, context.overrides.task)
            run(resolved)
        except Interrupted as stop:
            logger.warning("%s", stop)
            raise SystemExit(128 + stop.signum) from None
        except Exception as error:
            message = explain_configuration(error)
            if context.mode == RunMode.RUN:
                if message is None:
                    traceback.print_exc()  # without Hydra's frames
                raise SystemExit(1 if message is None else f"error: {message}") from None
            if message is None:
                logger.exception("This run has failed; the sweep continues")
            else:
                logger.error("error: %s", message)
            raise error if message is None else UserError(message) from None

    hydra_main = hydra.main(version_base="1.3", config_path=str(paths.CONF), config_name=program.config_name)(task)

    def main() -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # the locale's encoding may lack signs of what Hydra prints
        with exit_on_wrong_configuration():
            paths.check_checkout()
            sys.argv[1:] = options_first(sys.argv[1:])
            _refuse_options(sys.argv[1:], program)
            check_arguments(sys.argv[1:])
            outputs = given_value(sys.argv[1:], "outputs")
            check_ranges({} if outputs is None else {"outputs": outputs})
            check_outputs(Path(outputs or "outputs"), "outputs=")
            share_with_group(Path(outputs or "outputs"))
            try:
                hydra_main()
            except KeyboardInterrupt:  # the second one, or one outside a run
                print("stopped; give the same command again to go on", file=sys.stderr)
                raise SystemExit(130) from None

    return main


def options_first(words: list[str]) -> list[str]:
    """Return the words of a command line with its overrides last: Hydra refuses them on both sides of an option.

    With --help there are none, as the help is the same for all, and Hydra would refuse those of a sweep.
    """
    parsed = get_args_parser().parse_intermixed_args(words)
    if parsed.help:
        return ["--help"]
    overrides = parsed.overrides
    options = list(words)
    for word in overrides:
        options.remove(word)
    return [*options, *overrides]


def _refuse_options(words: list[str], program: Program) -> None:
    """Raise a UserError if Hydra's options contradict each other or name another program's configuration."""
    given = get_args_parser().parse_args(words)
    modes = [mode for mode in ("run", "multirun", "cfg", "info", "shell_completion") if getattr(given, mode)]
    if len(modes) > 1:
        raise UserError(f"{' and '.join(f'--{mode}' for mode in modes).replace('_', '-')} exclude each other")
    if not given.cfg and (lone := [f"--{name}" for name in ("package", "resolve") if getattr(given, name)]):
        raise UserError(f"{' and '.join(lone)}: only with --cfg")
    name = given.config_name
    if name not in (None, program.config_name):
        raise UserError(f"--config-name {name}: python -m {program.module} takes only {program.config_name}")


def given_value(words: Iterable[str], key: str) -> str | None:
    """Return the text that a command line gives for a key, without quotes, of several the last; None if none."""
    given = [word for word in words if word.startswith(f"{key}=")]
    if not given:
        return None
    (parsed,) = OverridesParser.create().parse_overrides(given[-1:])
    return given[-1].partition("=")[2] if parsed.is_sweep_override() else str(parsed.value())


def _say_where_processes_are_from(processes: int) -> None:
    """Log where the number of processes comes from if it may have been meant for something else."""
    source = source_of_processes(processes)
    if source and "RANK" not in os.environ and _is_first_process():
        name = source.partition("=")[0]
        logger.info(
            "This is one of %d processes that train the run together, as the environment has %s. If the command was "
            "given only once, stop it and `unset %s`",
            processes,
            source,
            name,
        )


def _is_first_process() -> bool:
    """Return whether this is the only process that torchrun or srun launched, or the first of several."""
    return os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0"


def say_what_has_no_effect(config: Mapping[str, Any], overrides: Iterable[str]) -> None:
    """Log which overrides of a single run it does not use; a sweep may well give them, for its other runs.

    Args:
        config: resolved, of `src.run`.
        overrides: those of the command line.
    """
    unused = unused_options(config)
    given = [word for word in overrides if is_in(key_of(word), unused)]
    if given and _is_first_process():
        loss = config["loss"]["name"]
        logger.info("Without effect on this run of loss=%s: %s", loss, ", ".join(map(shell_quoted, given)))


def explain_configuration(error: BaseException) -> str | None:
    """Return in one line what is wrong, like :func:`explain`, but also for errors of Hydra and OmegaConf."""
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return explain(error)
    if isinstance(error, OverrideParseException):
        key, equals, value = error.override.partition("=")
        if not (key and equals) or value.endswith(","):
            return f"{error.override}: options are KEY=VALUE, without spaces around = or after a comma"
        advice = f"if it is a text, quote it: {override(key, value)}"
        if listed := re.fullmatch(r"\[([^'\"]*)\]", value):
            items = ",".join(hydra_quoted(item.strip()) for item in listed[1].split(","))
            advice = f"if it is a list, quote the texts in it: {shell_quoted(f'{key}=[{items}]')}; {advice}"
        return f"{error.override}: Hydra cannot read this value; {advice}"
    causes = [error, *([error.__cause__] if isinstance(error.__cause__, OmegaConfBaseException) else [])]
    lines = [line.strip() for cause in causes for line in str(cause).partition("Config search path:")[0].splitlines()]
    text = " ".join(line for line in lines if line and not line.startswith(("object_type=", "reference_type=")))
    if of_resolver := re.fullmatch(r"UserError raised while resolving interpolation: (.*?)( full_key: \S+)?", text):
        return of_resolver[1]
    if " is not a ListConfig" in text and (given := re.match(r"Error merging override ([\w.]+)=(\S+) ", text)):
        key, value = given.groups()
        return f"{key}={value}: this takes a list: {shell_quoted(f'{key}=[{value}]')}"
    if listed := re.match(r"Error merging override ([\w.]+)=\[(.*?)\] (Value|Cannot convert) .*\blist\b", text):
        key, items, _ = listed.groups()
        return f"{key}=[{items}]: this takes one value; a sweep over several is -m {key}={items.replace(' ', '')}"
    if "INTERVAL_SWEEP" in text:
        return "interval(…) names no values; a sweep needs each of them: delta=0.25,0.5,1"
    if ambiguous := re.match(r"Ambiguous value for argument '([^=]+)=(.*?)' 1\. To use it as", text):
        key, value = ambiguous.groups()
        as_list = shell_quoted(f"{key}=[{value}]")
        return f"{key}={value}: a sweep needs -m; one list is {as_list}, one text {override(key, value)}"
    if text.startswith("Sweeping over Hydra's configuration"):
        return f"{text}; a value that has commas needs quotes within quotes: 'hydra.launcher.partition=\"a,b\"'"
    # Hydra's advice would add a key that nothing reads.
    without_advice = re.sub(r" ?To append to your (config|default list) use \S+", "", text).rstrip(".")
    unknown = re.search(r"Could not override '([\w./]+)'", text) if "To append" in text else None
    return f"{without_advice}{similar_key(unknown[1], is_missing=True)}" if unknown else without_advice


@contextmanager
def exit_on_wrong_configuration() -> Iterator[None]:
    """Exit with code 1 and a message on an error that can be explained."""
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # or else Hydra itself prints all errors, those of files with a traceback
    try:
        yield
    except Exception as error:
        message = explain_configuration(error)
        if wants_traceback or message is None:
            raise
        raise SystemExit(f"error: {message}") from None
    finally:
        if not wants_traceback:
            os.environ.pop("HYDRA_FULL_ERROR", None)


def _refuse_parts_of_sweeps(choices: Any) -> None:
    """Raise a UserError if a single run is given options of sweeps."""
    if choices.get("slurm") or choices["hydra/launcher"] == "slurm":
        raise UserError("slurm=... submits a sweep; add -m, even for one run")
    if choices.get("sweeps"):
        raise UserError(f"sweeps={choices.sweeps} is a sweep; add -m")
