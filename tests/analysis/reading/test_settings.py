"""Which runs are one setting, and the commands that are printed for people to paste."""

import functools
import shlex
import subprocess

import pytest
from omegaconf import OmegaConf

from analysis.__main__ import ARTEFACTS, WITHOUT_RUNS, build
from analysis.reading.runs import Runs
from analysis.reading.settings import STANDARD, Setting, ablation_values, command_of, settings
from analysis.report.provenance import describe_runs
from src.config.identity import run_id
from src.config.validate import resolve
from src.launch.sweep_runs import expand_sweep
from src.utils import paths
from tests.analysis.logged import config_of, config_of_job, gallery_values, rows_of, run_of
from tests.support.configurations import compose_sweep, make_config
from tests.support.exhaustive import EXHAUSTIVE

NO_ARTEFACTS = {"costs", "learning_rates", "proposition1"}  # of two figures, of none, and of another program
SWEEPS = sorted(path.stem for path in paths.ROOT.glob("sweeps/*.yaml") if path.stem not in NO_ARTEFACTS)
OVERRIDES = [
    ("recipe=mini",),
    ("recipe=voc", 'dataset.root="some/VOC devkit"', "schedule.epochs=3", "model.weights=null", "precision=bf16"),
]
OF_VOC = SWEEPS if EXHAUSTIVE else ["table1"]  # composing a sweep takes seconds
PASTED = 'python() { printf "%s\\0" python "$@"; }; torchrun() { printf "%s\\0" torchrun "$@"; }; '


@functools.cache
def expanded(*words):
    """The runs of a sweep by their ids, and what makes them."""
    return expand_sweep("src.run", list(words), paths.ROOT / "no such folder").runs


@functools.cache
def made_by(*words):
    """The id of the run that these overrides make."""
    return run_id(resolve(make_config(*words)))


def pasted(command):
    """The words of a command line as bash passes them on, without `python -m src.run` and `-m`."""
    done = subprocess.run(["bash", "-c", PASTED + command], capture_output=True, text=True, check=True)
    words = done.stdout.split("\0")[:-1]
    start = words.index("src.run") + 1
    return tuple(word for word in words[start:] if word != "-m")


def run(*words, **changes):
    return run_of(config_of(*words, **changes), rows_of(30.0))


def of_this_detector(section):
    """Return what is missing and a command makes, but for the panel of another detector."""
    return [missing for missing in section.missing if missing.command and "model=ssd" not in missing.command]


@pytest.mark.slow
@pytest.mark.parametrize(
    "sweep, overrides", [(sweep, OVERRIDES[0]) for sweep in SWEEPS] + [(sweep, OVERRIDES[1]) for sweep in OF_VOC]
)
def test_an_artefact_consists_of_its_sweeps_runs_and_names_a_missing_one(sweep, overrides):
    _, _, jobs = compose_sweep(f"sweeps={sweep}", *overrides, "seed=0,1")
    jobs = [job for job in jobs if job.is_asked_for]
    runs = [run_of(config_of_job(job), [*rows_of(30.0), (20, gallery_values())]) for job in jobs]
    assert [run.run_id for run in runs] == [job.directory.name for job in jobs]
    (artefact,) = build([sweep], Runs(runs))
    section = artefact.sections[0]
    assert set(section.run_ids) == {run.run_id for run in runs}
    assert not of_this_detector(section)

    # Of a sweep with one run a seed, what is left does not show that there was another seed.
    for gone in (runs[0] if overrides == OVERRIDES[0] else runs[-1],) if len(runs) > 2 else ():
        left = Runs([run for run in runs if run is not gone])
        (missing,) = of_this_detector(build([sweep], left)[0].sections[0])
        words = pasted(missing.command)
        seed = gone.config["seed"]
        assert f"seed={seed}" in words and words[0] == f"sweeps={sweep}" and f"(seed {seed})" in missing.what
        assert gone.run_id in expanded(*words)


def test_each_artefact_made_of_runs_has_a_sweep():
    assert {*SWEEPS, "proposition1"} == set(ARTEFACTS) - WITHOUT_RUNS


@pytest.mark.parametrize("folder", ["data (1)", "it's", 'say "data"', "$HOME/a&b", "plain"])
def test_printed_commands_can_be_pasted_whatever_the_folder_is_called(folder):
    quoted = folder.replace('"', '\\"')
    logged = run("recipe=voc", f'dataset.root="{quoted}"')
    assert logged.config["dataset.root"] == folder
    for command in (command_of(logged), settings([logged])[0].command("table2", [0])):
        words = [word for word in pasted(command) if not word.startswith(("sweeps=", "seed="))]
        config = resolve(make_config(*words))
        assert config.dataset.root == folder and run_id(config) == logged.run_id


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["loss=focal", "loss.gamma=1"],
        ["loss=ohem", "seed=3"],
        ["method=structured_hinge", "schedule.box_loss_weight=0"],
        ["step=heaviside", "interpolated=false"],
        ["delta=0.25", "schedule.decay_at=[0.5]", "model.weights=null"],
        ["recipe=voc", 'dataset.root="a b"', "batch_size=2"],
        ["method=approximate_gradient", "method.epsilon=0.001"],
        ["schedule.box_loss_weight=2", "dataset.test_shorter_side=96"],
    ],
)
def test_the_command_of_a_run_makes_it(overrides):
    logged = run(*overrides)
    assert made_by(*pasted(command_of(logged))) == logged.run_id


def test_the_command_of_a_run_on_a_cpu_sets_the_number_of_threads():
    logged = run("recipe=mini", "loss=focal")
    for device, before in {"x86_64 CPU": "OMP_NUM_THREADS=3 ", "NVIDIA H200": ""}.items():
        logged.config.update({"environment.threads": 3, "environment.device": device})
        assert command_of(logged) == f"{before}python -m src.run recipe=mini loss=focal"


def test_an_attack_with_an_option_stays_with_its_detector_but_is_not_the_usual_one():
    usual, other = run("attack=gaussian_noise"), run("attack=gaussian_noise", "attack.standard_deviation=0.2")
    (setting,) = settings([run(), usual, other])
    assert [one.run_id for one in setting.select(attack="gaussian_noise")] == [usual.run_id]
    assert setting.select(attack="gaussian_noise attack.standard_deviation=0.2") == [other]
    assert setting.attacks("gaussian_noise") == ["gaussian_noise", "gaussian_noise attack.standard_deviation=0.2"]
    assert setting.attacks("deepfool") == ["deepfool"]


def test_words_make_a_setting_wherever_its_data_are():
    setting = Setting(("recipe=voc_paper", "dataset.root=/data/VOC"))
    assert setting.is_made_by(("recipe=voc", "dataset.root=VOCdevkit")) and not setting.is_made_by(("recipe=coco",))
    assert not Setting(("recipe=voc", "schedule.epochs=2")).is_made_by(("recipe=voc",))


def test_the_standard_values_are_those_of_the_configuration():
    config = OmegaConf.to_container(OmegaConf.load(paths.ROOT / "conf/config.yaml"))
    assert config["proposals"] == "all"
    config |= {"proposals": None, "rpn_epochs": None}  # on all anchors, without an RPN
    assert all(config[key] == value for key, value in STANDARD.items() if key in config)
    assert ablation_values(run().config) == STANDARD


def test_runs_of_other_settings_are_kept_apart():
    runs = [
        run(),
        run("seed=1"),
        run("schedule.epochs=2"),
        run_of(config_of(**{"data.fingerprint": "another"}) | {"run_id": "other-data"}, rows_of(10.0)),
        run_of({"run_id": "foreign", "batch": 3}, []),
    ]
    first, *others = settings(runs)
    assert [run.run_id for run in first.select()] == [runs[0].run_id, runs[1].run_id] and first.seeds == [0, 1]
    assert first.overrides == f"recipe=mini # data.fingerprint={'f' * 16}"
    assert first.command("table1", [1]) == "python -m src.run -m sweeps=table1 recipe=mini seed=1"
    assert {s.overrides for s in others} == {
        "recipe=mini # data.fingerprint=another",
        "recipe=mini schedule.epochs=2",
    }


def test_settings_of_more_seeds_come_before_those_of_more_runs():
    losses = [run(f"loss={loss}", "schedule.epochs=1") for loss in ("ap", "auc", "focal", "ohem")]
    one_seed, two_seeds = [run("schedule.epochs=2")], [run(), run("seed=1")]
    order = ["recipe=mini", "recipe=mini schedule.epochs=1", "recipe=mini schedule.epochs=2"]
    assert [setting.overrides for setting in settings([*one_seed, *losses, *two_seeds])] == order


def test_runs_that_exist_only_because_others_need_them_are_no_setting_of_their_own():
    def made(run_id, *words, **needs):
        return run_of(config_of(*words) | {"run_id": run_id, "needs": needs}, rows_of(30.0))

    trained, attack = made("trained"), made("attack", "attack=black_patch", attack="trained")
    snapshot, rpn = made("snapshot", "schedule.epochs=2", proposals="rpn"), made("rpn", "dataset.classes_as_one=true")
    warm = made("warm", "snapshot=schedule.epochs:2", proposals="rpn", snapshot="snapshot")
    other_detector = made("other", "step=heaviside", "seed=1")
    maker = made("maker", "step=heaviside", "seed=1", "attack=patch_making", attack="other")
    patched = made("patched", "attack=adversarial_patch", attack="trained", patch="maker")
    runs = [trained, attack, snapshot, rpn, warm, other_detector, maker, patched]
    (setting,) = settings(runs)
    assert setting.runs == [run for run in runs if run not in (snapshot, rpn)] and setting.seeds == [0]
    # One that also has a run which no other needs, or of which no needing run counts, is one.
    assert {one.overrides for one in settings([*runs, made("own", "schedule.epochs=2", "seed=1")])} == {
        "recipe=mini",
        "recipe=mini schedule.epochs=2",
    }
    assert len(settings([trained, snapshot, rpn])) == 2  # the snapshot's own need of the RPN is one, too
    rows = {row["run"]: row for row in describe_runs(Runs(runs), {})}
    assert [rows[name]["options"] for name in ("trained", "attack", "snapshot")] == [
        "",
        "attack=black_patch",
        "schedule.epochs=2",
    ]
    needers = {name: row["needed by"] for name, row in rows.items()}
    assert needers["rpn"] == "2 runs (proposals)" and needers["trained"] == "2 runs (attack)"
    assert needers["warm"] == ""


def test_a_recipe_that_has_changed_makes_another_setting_with_the_same_words():
    old = run(**{"schedule.epochs": 12})
    old.config["command.canonical"] = "python -m src.run recipe=mini"
    now = run()
    names = [setting.overrides for setting in settings([now, old])]
    epochs = now.config["schedule.epochs"]
    assert names == ["recipe=mini # schedule.epochs=12", f"recipe=mini # schedule.epochs={epochs}"]


@pytest.mark.slow
def test_losses_that_a_recipe_trains_at_different_learning_rates_are_one_setting():
    bccd = ("recipe=bccd", "dataset.root=BCCD")
    words = [
        ["loss=ap"],
        ["loss=ohem"],
        ["loss=focal"],
        ["loss=ohem", "schedule.learning_rate=0.03"],
        ["loss=ap", "schedule.learning_rate=0.01"],
    ]
    runs = [run(*bccd, *own) for own in words]
    first, *others = settings(runs)
    assert first.overrides == "recipe=bccd dataset.root=BCCD" and first.runs == runs[:3]
    assert {s.overrides: s.runs for s in others} == {
        f"{first.overrides} schedule.learning_rate=0.03": runs[3:4],
        f"{first.overrides} schedule.learning_rate=0.01": runs[4:],
    }
    assert [made_by(*pasted(command_of(run))) for run in runs] == [run.run_id for run in runs]


@pytest.mark.slow
def test_values_given_by_hand_that_are_the_usual_ones_make_no_other_setting():
    runs = [
        run("loss=ap"),
        run("loss=focal"),
        run("loss=ohem", "schedule.learning_rate=0.015"),
        run("loss=focal", "loss.gamma=2", "seed=1"),
        run("loss=focal", "loss.gamma=1"),
        run("loss=ap", "schedule.learning_rate=0.005"),
        run("method=structured_hinge", "schedule.box_loss_weight=0"),
        run("method=structured_hinge", "schedule.box_loss_weight=0", "schedule.learning_rate=0.015", "seed=1"),
    ]
    first, *others = settings(runs)
    assert first.overrides == "recipe=mini" and first.runs == [*runs[:4], *runs[6:]]
    assert {setting.overrides: setting.runs for setting in others} == {
        "recipe=mini loss.gamma=1": runs[4:5],
        "recipe=mini schedule.learning_rate=0.005": runs[5:6],
    }


def test_a_rate_given_by_hand_joins_no_setting_if_it_is_that_of_several():
    changed_recipe = run(seed=1)
    changed_recipe.config.update({"by_loss.schedule.learning_rate.ohem": 0.5})
    alone = run("schedule.learning_rate=0.02", "seed=2")
    groups = [setting.runs for setting in settings([run(), changed_recipe, alone])]
    assert [alone] in groups and len(groups) == 3


def test_runs_without_box_loss_are_a_setting_without_any_others():
    alone = [run(f"method={method}", "schedule.box_loss_weight=0") for method in ("error_driven", "structured_hinge")]
    (setting,) = settings(alone)
    assert setting.overrides == "recipe=mini" and setting.select(box_loss=False) == alone[:1]
    heavier = run("schedule.box_loss_weight=2")
    assert {s.overrides for s in settings([*alone, heavier])} == {
        "recipe=mini",
        "recipe=mini schedule.box_loss_weight=2",
    }


def test_a_loss_that_ranks_nothing_belongs_to_the_settings_of_every_ranking():
    canonical = "torchrun --nproc-per-node 4 -m src.run recipe=mini ranking=per_process"
    per_process = run(ranking="per_process of 4")
    per_process.config["command.canonical"] = canonical
    usual, focal, auc = run(seed=1), run("loss=focal"), run("loss=auc", "seed=3")
    by_words = {setting.overrides: setting for setting in settings([per_process, usual, focal, auc])}
    assert by_words["recipe=mini"].runs == [usual, focal, auc]
    other = by_words["recipe=mini ranking=per_process"]
    assert other.runs == [per_process, focal]
    assert other.command("table2", [0]) == (
        "torchrun --nproc-per-node 4 -m src.run -m sweeps=table2 recipe=mini ranking=per_process seed=0"
    )


def test_a_setting_whose_recipe_no_longer_exists_is_still_one():
    runs = [run(), run("seed=1")]
    for one in runs:
        one.config["command.canonical"] = shlex.join(["python", "-m", "src.run", "recipe=gone", "loss=ap"])
    (setting,) = settings(runs)
    assert setting.overrides == "recipe=gone" and len(setting.select()) == 2


def test_a_setting_without_runs_has_a_command():
    command = Setting(("recipe=voc", "dataset.root=VOCdevkit")).command("table1")
    assert command == "python -m src.run -m sweeps=table1 recipe=voc dataset.root=VOCdevkit"


def test_an_attack_is_the_same_however_its_options_are_given():
    words = [[], ["attack.images=100"], ["attack.overshoot=2e-2"], ["attack.images=24"]]
    runs = [run_of(config_of("attack=deepfool", f"seed={seed}", *own), []) for seed, own in enumerate(words)]
    (setting,) = settings(runs)
    assert setting.attacks("deepfool") == ["deepfool", "deepfool attack.images=24"]
    assert [run.config["seed"] for run in setting.select(attack="deepfool")] == [0, 1, 2]
