"""Expand sweeps into their runs; each sweep is composed only once for the same configuration files."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode

from src.launch.cli import given_value
from src.launch.compose import Job, sweep_jobs
from src.launch.hydra_setup import register
from src.launch.presets import check_arguments
from src.launch.program import PROGRAMS, program_of_sweep
from src.launch.sweep_records import (
    SweepRecord,
    cache_record,
    config_version,
    load_record,
    make_record,
    recorded_sweeps,
)
from src.utils import paths
from src.utils.errors import UserError

logger = logging.getLogger(__name__)


def expand_sweep(program: str, arguments: list[str], outputs: Path) -> SweepRecord:
    """Return the runs of a sweep; they are composed only if there is no record for the current configuration files."""
    earlier = load_record(program, arguments, outputs)
    if earlier is not None and earlier.version == config_version():
        return earlier
    launched = earlier is not None and earlier.launched
    record = make_record(program, arguments, _compose_jobs(program, arguments), launched=launched)
    cache_record(record)
    return record


def labelled_sweeps(outputs: Path) -> list[tuple[str, SweepRecord]]:
    """Return all sweeps that were launched, and each file of sweeps/ that was not.

    Returns:
        The name of the file of sweeps/ with each sweep of it, in natural order; then those of no file, with "".
    """
    launched = []
    for record in recorded_sweeps(outputs):
        with _warning(record.command):
            launched.append(expand_sweep(record.program, record.arguments, outputs))
    sweeps = []
    for name in sorted((file.stem for file in paths.SWEEPS.glob("*.yaml")), key=_natural_order):
        argument = f"sweeps={name}"
        records = [record for record in launched if given_value(record.arguments, "sweeps") == name]
        launched = [record for record in launched if record not in records]
        if not records:
            with _warning(argument):
                records = [expand_sweep(program_of_sweep(name), [argument], outputs)]
        sweeps += [(name, record) for record in records]
    return sweeps + [("", record) for record in launched]


@contextmanager
def _warning(sweep: str) -> Iterator[None]:
    """Leave out a sweep whose file cannot be used, or is gone, with a warning."""
    try:
        yield
    except (UserError, HydraException) as error:
        logger.warning("%s is left out: %s", sweep, error)


def _compose_jobs(program: str, arguments: list[str]) -> list[Job]:
    register()
    check_arguments(arguments)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration(PROGRAMS[program].config_name, arguments, RunMode.MULTIRUN)
        _, jobs = sweep_jobs(loader, master, list(master.hydra.overrides.task))
    return jobs


def _natural_order(name: str) -> list[tuple[str, int]]:
    """Return a sort key by which figure6 comes before figure10."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", name)]
