"""Which runs the arguments of a sweep ask for."""

from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from src import config, linear_config
from src.asked import ROOT, Asked, present_version, read_asked, write_asked
from src.sweep import sweep_jobs

CONFIG_NAMES = {"src.run": "config", "src.linear": "linear"}


def find_runs(program: str, arguments: list[str], outputs: Path) -> Asked:
    """The runs that these arguments ask for; what was composed once is noted in the folder of outputs, if there is one.
    """
    known = read_asked(program, arguments, outputs)
    if known is not None and known.version == present_version():
        return known
    asked = Asked(program, arguments, _compose(program, arguments), bool(known and known.made), present_version())
    if outputs.is_dir():
        write_asked(asked, outputs)
    return asked


def _compose(program: str, arguments: list[str]) -> dict[str, str]:
    config.register()
    linear_config.register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration(CONFIG_NAMES[program], arguments, RunMode.MULTIRUN)
        _, jobs = sweep_jobs(loader, master, list(master.hydra.overrides.task))
    return {job.directory.name: " ".join(job.overrides) for job in jobs}
