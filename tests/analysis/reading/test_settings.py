import shlex

import pytest
from omegaconf import OmegaConf

from analysis.__main__ import ARTEFACTS, WITHOUT_RUNS, build
from analysis.reading.runs import Runs
from analysis.reading.settings import STANDARD, command_of, knobs_of, points, settings
from src.config.identity import run_id
from src.config.validate import resolve
from src.launch.sweep_runs import expand_sweep
from tests.analysis.logged import config_of, rows_of, run_of
from tests.conftest import ROOT, make_config

SWEEPS = sorted(path.stem for path in ROOT.glob("sweeps/*.yaml") if path.stem != "proposition1")
OVERRIDES = [
    ["recipe=mini"],
    ["recipe=voc", "dataset.root=some/VOC devkit", "schedule.epochs=3", "model.weights=null", "precision=bf16"],
]


def words_of(command):
    program, *words = shlex.split(command)[2:]
    return program, [word for word in words if word != "-m"]


def sweep_runs(sweep, overrides, tmp_path):
    """The runs that a file of sweeps/ asks for with two seeds, as they would be read."""
    asked = expand_sweep("src.run", [f"sweeps={sweep}", *(quoted(word) for word in overrides), "seed=0,1"], tmp_path)
    runs = []
    for name, made_by in asked.runs.items():
        words = [word for word in shlex.split(made_by) if not word.startswith(("sweeps=", "dataset.root="))]
        roots = [quoted(word) for word in overrides if word.startswith("dataset.root=")]
        config = config_of(*words, *roots)
        assert config["run_id"] == name
        runs.append(run_of(config, rows_of(30.0)))
    return runs


def quoted(word):
    key, value = word.split("=", 1)
    return f"{key}='{value}'" if " " in value else word


@pytest.mark.parametrize("overrides", OVERRIDES)
@pytest.mark.parametrize("sweep", SWEEPS)
def test_an_artefact_is_made_of_the_runs_its_sweep_names_and_knows_which_is_missing(sweep, overrides, tmp_path):
    runs = sweep_runs(sweep, overrides, tmp_path)
    (artefact,) = build([sweep], Runs(runs))
    section = artefact.sections[0]
    assert sorted(section.run_ids) == sorted(run.run_id for run in runs) or sweep == "table1"
    assert set(section.run_ids) == {run.run_id for run in runs}
    assert not [missing for missing in section.missing if missing.command]

    # Of a sweep with one run a seed, what is left does not tell that there was another seed.
    for gone in (runs[0], runs[-1]) if len(runs) > 2 else ():
        left = Runs([run for run in runs if run is not gone])
        (missing,) = [m for m in build([sweep], left)[0].sections[0].missing if m.command]
        program, words = words_of(missing.command)
        seed = gone.config["seed"]
        assert program == "src.run" and f"seed={seed}" in words and words[0] == f"sweeps={sweep}"
        assert f"(seed {seed})" in missing.what
        assert gone.run_id in expand_sweep("src.run", [quoted(word) for word in words], tmp_path).runs


def test_each_artefact_but_those_without_runs_has_a_sweep():
    assert {*SWEEPS, "proposition1"} == set(ARTEFACTS) - WITHOUT_RUNS


@pytest.mark.parametrize("sweep", SWEEPS)
def test_points_are_the_knobs_of_the_runs_of_a_sweep(sweep, tmp_path):
    found = [knobs_of(run.config) for run in sweep_runs(sweep, ["recipe=mini"], tmp_path) if not run.config["seed"]]
    assert sorted(map(repr, found)) == sorted(map(repr, points(sweep)))


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["loss=focal", "loss.gamma=1"],
        ["loss=ohem", "seed=3"],
        ["method=structured_hinge", "schedule.box_loss_weight=0"],
        ["step=heaviside", "interpolated=false"],
        ["delta=0.25", "schedule.decay_at=[0.5]", "model.weights=null"],
        ["recipe=voc", "dataset.root='a b'", "batch_size=2"],
        ["method=approximate_gradient", "method.epsilon=0.001"],
        ["schedule.box_loss_weight=2", "dataset.test_shorter_side=96"],
    ],
)
def test_the_command_of_a_run_makes_it(overrides):
    run = run_of(config_of(*overrides), rows_of(1.0))
    program, words = words_of(command_of(run))
    assert program == "src.run"
    assert run_id(resolve(make_config(*map(quoted, words)))) == run.run_id


def test_the_standard_knobs_are_those_of_the_configuration():
    config = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/config.yaml"))
    assert all(config[key] == value for key, value in STANDARD.items() if key in config)
    assert knobs_of(run_of(config_of(), []).config) == STANDARD


def test_runs_of_other_settings_are_kept_apart():
    runs = [
        run_of(config_of(), rows_of(30.0)),
        run_of(config_of("seed=1"), rows_of(31.0)),
        run_of(config_of("schedule.epochs=2"), rows_of(20.0)),
        run_of(config_of(**{"data.fingerprint": "another"}) | {"run_id": "other-data"}, rows_of(10.0)),
        run_of({"run_id": "foreign", "batch": 3}, []),
    ]
    first, *others = settings(runs)
    assert [run.run_id for run in first.at()] == [runs[0].run_id, runs[1].run_id] and first.seeds == [0, 1]
    assert first.overrides.startswith("recipe=mini") and "fffff" in first.overrides
    assert sorted(s.overrides.split(" #")[0] for s in others) == ["recipe=mini", "recipe=mini schedule.epochs=2"]


def test_losses_that_a_recipe_trains_at_learning_rates_of_their_own_are_one_setting():
    bccd = ["recipe=bccd", "dataset.root=BCCD"]
    words = [
        ["loss=ap"],
        ["loss=ohem"],
        ["loss=focal"],
        ["loss=ohem", "schedule.learning_rate=0.03"],
        ["loss=ap", "schedule.learning_rate=0.01"],
    ]
    runs = [run_of(config_of(*bccd, *own), rows_of(30.0)) for own in words]
    first, *others = settings(runs)
    assert first.overrides == "recipe=bccd dataset.root=BCCD" and first.runs == runs[:3]
    assert {s.overrides: s.runs for s in others} == {
        f"{first.overrides} schedule.learning_rate=0.03": runs[3:4],
        f"{first.overrides} schedule.learning_rate=0.01": runs[4:],
    }
    for run in runs:
        program, given = words_of(command_of(run))
        assert run_id(resolve(make_config(*map(quoted, given)))) == run.run_id


def test_a_setting_whose_recipe_is_not_here_any_more_is_still_one():
    config = config_of() | {"recipe": "gone"}
    (setting,) = settings([run_of(config, rows_of(30.0)), run_of(config | {"seed": 1, "run_id": "1"}, rows_of(31.0))])
    assert setting.overrides == "recipe=gone" and len(setting.at()) == 2
