"""Every file of conf/, sweeps/ and slurm/ composes, and a sweep's runs are different ones."""

import dataclasses
import re

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from src.config.identity import run_id
from src.config.validate import plain_config, resolve
from src.launch.compose import Composer, sweep_jobs
from src.launch.compose import _combinations as combinations_of
from src.launch.program import PROGRAMS, program_of_sweep
from src.launch.sweep_records import recorded_sweeps, save_record
from src.launch.sweep_runs import expand_sweep
from src.utils import paths
from src.utils.errors import UserError
from tests.support.configurations import compose_config, compose_sweep, make_config, resolve_linear
from tests.support.exhaustive import EXHAUSTIVE
from tests.support.programs import run_python

SWEEPS = sorted(path.stem for path in paths.SWEEPS.glob("*.yaml"))
PRESETS = sorted(path.stem for path in paths.SLURM.glob("*.yaml"))
RECIPES = sorted((path.stem for path in (paths.CONF / "recipe").glob("*.yaml")), key=lambda name: name != "mini")
RESOLVE = {"src.run": resolve, "src.linear": resolve_linear}


def test_there_is_a_sweep_for_each_table_and_figure():
    assert set(SWEEPS) >= {"table1", "table2", "table3", *(f"figure{n}" for n in range(6, 12))}


@pytest.mark.slow
@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_sweep_has_no_run_twice_and_opens_with_its_command_and_number_of_runs(sweep):
    module = program_of_sweep(sweep)
    _, combinations, jobs = compose_sweep(f"sweeps={sweep}", module=module)
    assert combinations == sum(job.is_asked_for for job in jobs) > 0
    for job in jobs:
        RESOLVE[module](job.config)
    text = (paths.SWEEPS / f"{sweep}.yaml").read_text()
    assert f"python -m {module} -m sweeps={sweep}" in text
    assert int(re.search(r"(\d+) runs?\b", text)[1]) == len(jobs)


SWEEPS_OF_RUN = [name for name in SWEEPS if program_of_sweep(name) == "src.run"]


# Recipes and seeds are composed alike in all sweeps.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("sweep", "recipe"),
    [*((sweep, "mini") for sweep in SWEEPS_OF_RUN * EXHAUSTIVE), *(("table2", recipe) for recipe in RECIPES)],
)
def test_a_sweep_composes_at_every_recipe_and_for_any_seeds(sweep, recipe):
    _, _, jobs = compose_sweep(f"sweeps={sweep}")
    seeds = [f"sweeps={sweep}", f"recipe={recipe}", "dataset.root=x", "seed=3,4"]
    _, combinations, jobs_of_seeds = compose_sweep(*seeds)
    asked_for = [job for job in jobs_of_seeds if job.is_asked_for]
    assert combinations == len(asked_for) == 2 * sum(job.is_asked_for for job in jobs)
    assert {job.config["seed"] for job in asked_for} == {3, 4}
    assert {job.config["recipe"] for job in jobs_of_seeds} == {recipe}


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("module", list(PROGRAMS))
def test_a_preset_composes_and_requests_resources_of_slurm(preset, module):
    if preset == "gpus" and module == "src.linear":
        pytest.skip("a linear model needs one process")
    master, _, jobs = compose_sweep(f"slurm={preset}", module=module)
    launcher = OmegaConf.to_container(master.hydra.launcher, resolve=True)
    assert launcher["_target_"].endswith("SlurmLauncher") and launcher["max_num_timeout"] > 1
    assert launcher["timeout_min"] * 60 > launcher["signal_delay_s"] > 0
    for job in jobs:
        config = RESOLVE[module](job.config)
        assert config.get("processes", 1) == launcher["nodes"] * launcher["tasks_per_node"]
        assert job.directory.name == run_id(config) if module == "src.run" else True
    assert f"slurm={preset}" in (paths.SLURM / f"{preset}.yaml").read_text()


def test_composing_is_as_hydra_composes():
    overrides = ["recipe=bccd", "dataset.root=x", "loss=focal", "loss.gamma=1", "schedule.epochs=3", "delta=2"]
    overrides += ["attack=gaussian_noise", "attack.standard_deviation=0.2"]
    _, _, (_, job) = compose_sweep(*overrides)
    composed = compose_config(tuple(overrides))
    assert make_config(*overrides) == composed and job.config == plain_config(composed)
    assert job.directory.name == run_id(composed)


@pytest.mark.slow
def test_composing_many_leaves_nothing_of_one_in_the_next():
    """Of the same keys, values replace each other in one configuration; others begin with a new one."""
    master, _, _ = compose_sweep()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        compose = Composer(loader, master)
        for arguments in (["dataset.classes=[a,b],null", "batch_size=2,${seed}", "seed=3"], ["+loss.x={a:1},{b:2}"]):
            jobs = [compose.job(overrides) for overrides in combinations_of(loader, master.hydra.sweeper, arguments)]
            assert len({str(job.config) for job in jobs}) == len(jobs) > 1
            for job in jobs:
                assert job == Composer(loader, master).job(job.overrides)


def test_runs_that_differ_in_unused_options_only_are_one_run():
    _, combinations, jobs = compose_sweep("loss=ap,focal,auc", "delta=0.25,0.5,1,2,4")
    assert combinations == 15 and len(jobs) == 11


@pytest.mark.slow
def test_tables_and_figures_share_runs():
    def ids(sweep):
        return {job.directory.name for job in compose_sweep(f"sweeps={sweep}")[2]}

    assert ids("table2") == ids("figure6") == ids("figure7") < ids("table3")
    assert ids("figure10") < ids("table1") and ids("table2") < ids("figure11") == ids("figure9")


@pytest.mark.parametrize("word", ["seed=range(2,0)", "loss=glob(foc)"])
def test_values_of_which_there_are_none_are_no_sweep_without_runs(word):
    with pytest.raises(UserError, match=f"^{re.escape(word)}: this gives no value"):
        compose_sweep(word, "delta=1,2")


def test_true_and_false_are_written_as_people_type_them():
    _, _, jobs = compose_sweep("sweeps=table1", "deterministic=True", "model.small=true")
    words = {word for job in jobs for word in job.overrides}
    assert {"interpolated=false", "deterministic=true", "model.small=true"} <= words
    assert not any(word.endswith(("=True", "=False")) for word in words)


def test_the_command_line_overrides_a_sweeps_file():
    _, _, jobs = compose_sweep("sweeps=table1", "delta=3")
    assert {job.config["delta"] for job in jobs} == {3.0}
    _, _, jobs = compose_sweep("sweeps=table2", "loss=ap,auc", "delta=1,2")
    assert sorted((job.config["loss"]["name"], job.config["delta"]) for job in jobs) == [
        ("ap", 1),
        ("ap", 2),
        ("auc", 1),
        ("auc", 2),
    ]


class CountingLoader:
    """Hydra's loader, which counts how often it puts together the files of the chosen groups."""

    def __init__(self, loader):
        self.loader, self.loads = loader, 0

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def load_configuration(self, *arguments):
        self.loads += 1
        return self.loader.load_configuration(*arguments)


def test_a_sweep_of_attacks_takes_what_the_command_changes_of_its_preset():
    words = ["attack=black_patch,flip_patch", "slurm=one_machine", "hydra.launcher.array_parallelism=1"]
    master, _, jobs = compose_sweep(*words)
    assert master.hydra.launcher.array_parallelism == 1
    assert [job.config["attack"]["name"] for job in jobs] == ["none", "black_patch", "flip_patch"]


def test_files_are_read_once_for_each_choice_of_groups_and_not_for_each_run(monkeypatch):
    """Reading them takes Hydra a third of a second, so that a sweep of a thousand would take minutes."""
    master, _, _ = compose_sweep()
    of_a_file, _, _ = compose_sweep("sweeps=table2")
    monkeypatch.setattr("src.launch.compose._COMPOSED", {})
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        loader = CountingLoader(GlobalHydra.instance().config_loader())
        combinations, jobs = sweep_jobs(loader, master, ["loss=ap,focal", "seed=range(0,20)"])
        assert combinations == len(jobs) == 40 and loader.loads == 2
        sweep_jobs(loader, of_a_file, ["sweeps=table2", "loss=ap,focal"])
        assert loader.loads == 2


def test_a_sweep_is_recorded_and_composed_again_for_other_files(tmp_path):
    arguments = ["loss=ap,focal", "delta=1,2"]
    first = expand_sweep("src.run", arguments, tmp_path)
    assert len(first.runs) == 3 and first.command == "python -m src.run -m loss=ap,focal delta=1,2"
    assert recorded_sweeps(tmp_path) == [] and expand_sweep("src.run", arguments, tmp_path) == first
    save_record(dataclasses.replace(first, launched=True, version="of older files"), tmp_path)
    (record,) = recorded_sweeps(tmp_path)
    assert record.runs == first.runs
    assert expand_sweep("src.run", arguments, tmp_path) == dataclasses.replace(first, launched=True)


def test_a_sweep_of_one_run_goes_to_slurm_with_m_only(tmp_path):
    done = run_python(["-m", "src.linear", "slurm=one_machine", f"outputs={tmp_path}"], fresh=True)
    assert done.returncode == 1 and "add -m" in done.stderr and "Traceback" not in done.stderr
