"""Every file of conf/, sweeps/ and slurm/ composes, and a sweep's runs are different ones."""

import dataclasses
import re
import subprocess
import sys
import time

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from src.config.identity import run_id
from src.config.linear import resolve_linear
from src.config.validate import resolve
from src.launch.compose import sweep_jobs
from src.launch.hydra_setup import register
from src.launch.program import PROGRAMS, program_of_sweep
from src.launch.sweep_records import recorded_sweeps, save_record
from src.launch.sweep_runs import expand_sweep
from tests.conftest import ROOT, make_config

SWEEPS = sorted(path.stem for path in (ROOT / "sweeps").glob("*.yaml"))
PRESETS = sorted(path.stem for path in (ROOT / "slurm").glob("*.yaml"))
RECIPES = sorted((path.stem for path in (ROOT / "conf/recipe").glob("*.yaml")), key=lambda name: name != "mini")
RESOLVE = {"src.run": resolve, "src.linear": resolve_linear}


def compose_sweep(*arguments, of="src.run"):
    """The master configuration, how many combinations there are, and the different runs."""
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration(PROGRAMS[of].config_name, list(arguments), RunMode.MULTIRUN)
        return master, *sweep_jobs(loader, master, list(master.hydra.overrides.task))


def test_there_is_a_sweep_for_each_table_and_figure():
    assert set(SWEEPS) >= {"table1", "table2", "table3", *(f"figure{n}" for n in range(6, 12))}


@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_sweep_has_no_run_twice_and_opens_with_its_command_and_number_of_runs(sweep):
    of = program_of_sweep(sweep)
    _, combinations, jobs = compose_sweep(f"sweeps={sweep}", of=of)
    assert combinations == len(jobs) > 0
    for job in jobs:
        RESOLVE[of](job.config)
    text = (ROOT / "sweeps" / f"{sweep}.yaml").read_text()
    assert f"python -m {of} -m sweeps={sweep}" in text
    assert int(re.search(r"(\d+) runs?\b", text)[1]) == len(jobs)


OF_RUN = [name for name in SWEEPS if program_of_sweep(name) == "src.run"]


# A recipe is composed alike in all sweeps.
@pytest.mark.parametrize(
    ("sweep", "recipe"), [*((sweep, "mini") for sweep in OF_RUN), *(("table1", recipe) for recipe in RECIPES[1:])]
)
def test_a_sweep_composes_at_every_recipe_and_for_any_seeds(sweep, recipe):
    _, _, jobs = compose_sweep(f"sweeps={sweep}")
    _, combinations, thrice = compose_sweep(f"sweeps={sweep}", f"recipe={recipe}", "dataset.root=x", "seed=3,4,7")
    assert combinations == len(thrice) == 3 * len(jobs)
    assert {job.config.seed for job in thrice} == {3, 4, 7} and {job.config.recipe for job in thrice} == {recipe}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("of", list(PROGRAMS))
def test_a_preset_composes_and_says_what_it_wants_of_slurm(preset, of):
    if preset == "gpus" and of == "src.linear":
        pytest.skip("a linear model needs no several processes")
    master, _, jobs = compose_sweep(f"slurm={preset}", of=of)
    launcher = OmegaConf.to_container(master.hydra.launcher, resolve=True)
    assert launcher["_target_"].endswith("SlurmLauncher") and launcher["max_num_timeout"] > 1
    assert launcher["timeout_min"] * 60 > launcher["signal_delay_s"] > 0
    for job in jobs:
        config = RESOLVE[of](job.config)
        assert config.get("processes", 1) == launcher["nodes"] * launcher["tasks_per_node"]
        assert job.directory.name == run_id(config) if of == "src.run" else True
    assert f"slurm={preset}" in (ROOT / "slurm" / f"{preset}.yaml").read_text()


def test_composing_is_as_hydra_composes():
    overrides = ["recipe=bccd", "dataset.root=x", "loss=focal", "loss.gamma=1", "schedule.epochs=3", "delta=2"]
    _, _, (job,) = compose_sweep(*overrides)
    assert OmegaConf.to_container(job.config, resolve=True) == OmegaConf.to_container(
        make_config(*overrides), resolve=True
    )
    assert job.directory.name == run_id(make_config(*overrides))


def test_the_users_sentence_is_eleven_runs():
    _, combinations, jobs = compose_sweep("loss=ap,focal,auc", "delta=0.25,0.5,1,2,4")
    assert combinations == 15 and len(jobs) == 11


def test_tables_and_figures_share_runs():
    def ids(sweep):
        return {job.directory.name for job in compose_sweep(f"sweeps={sweep}")[2]}

    assert ids("table2") == ids("table3") == ids("figure6") == ids("figure7")
    assert ids("figure10") < ids("table1") and ids("table2") < ids("figure11") == ids("figure9")


def test_the_command_line_has_the_last_word():
    _, _, jobs = compose_sweep("sweeps=table1", "delta=3")
    assert {job.config.delta for job in jobs} == {3.0}
    _, _, jobs = compose_sweep("sweeps=table2", "loss=ap,auc", "delta=1,2")
    assert sorted((job.config.loss.name, job.config.delta) for job in jobs) == [
        ("ap", 1),
        ("ap", 2),
        ("auc", 1),
        ("auc", 2),
    ]


def test_a_sweep_of_a_thousand_is_composed_in_seconds():
    begun = time.monotonic()
    compose_sweep()
    once = time.monotonic() - begun
    begun = time.monotonic()
    _, _, jobs = compose_sweep("seed=range(0,1000)")
    assert len(jobs) == 1000 and time.monotonic() - begun < 300 * once


def test_what_was_asked_for_is_remembered(tmp_path):
    arguments = ["loss=ap,focal", "delta=1,2"]
    first = expand_sweep("src.run", arguments, tmp_path)
    assert len(first.runs) == 3 and first.command == "python -m src.run -m loss=ap,focal delta=1,2"
    assert recorded_sweeps(tmp_path) == [] and expand_sweep("src.run", arguments, tmp_path) == first
    save_record(dataclasses.replace(first, launched=True, version="of older files"), tmp_path)
    (made,) = recorded_sweeps(tmp_path)
    assert made.runs == first.runs
    assert expand_sweep("src.run", arguments, tmp_path) == dataclasses.replace(first, launched=True)


def test_a_sweep_of_one_run_goes_to_slurm_with_m_only(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "src.linear", "slurm=one_machine", f"outputs={tmp_path}"],
        cwd=ROOT,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 1 and "add -m" in done.stderr and "Traceback" not in done.stderr
