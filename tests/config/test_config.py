import inspect
import re

import pytest
from hydra.errors import ConfigCompositionException, MissingConfigException
from omegaconf import OmegaConf

from src import losses
from src.config.identity import identity, run_id, run_name
from src.config.plain import to_plain
from src.config.registry import LOSSES, loss_call
from src.config.schema import with_later_keys
from src.config.validate import resolve
from src.utils import paths
from src.utils.errors import UserError
from tests.support.configurations import make_config
from tests.support.programs import call_run, run_python

RECIPES = sorted(path.stem for path in (paths.CONF / "recipe").glob("*.yaml"))
NEED_ROOT = {"bccd", "folder", "voc", "voc_small", "coco", "voc_paper", "coco_paper", "voc_ssd"}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("loss", sorted(name for name, entry in LOSSES.items() if entry.trains))
def test_every_recipe_composes_with_every_loss(recipe, loss):
    config = make_config(f"recipe={recipe}", f"loss={loss}", *(["dataset.root=data"] if recipe in NEED_ROOT else []))
    plain = resolve(config)
    assert plain.recipe == recipe and plain.loss.name == loss
    assert loss in run_name(plain) and len(run_id(config)) == 10


@pytest.mark.parametrize(
    ("overrides", "name", "arguments"),
    [
        (["loss=ap"], "ap_loss", {"step", "delta", "interpolated"}),
        (["loss=ap", "step=heaviside"], "ap_loss", {"step", "interpolated"}),
        (["method=approximate_gradient"], "ap_approximate_gradient_loss", {"delta", "epsilon"}),
        (["method=structured_hinge"], "ap_structured_hinge_loss", set()),
        (["loss=auc", "method=structured_hinge"], "auc_loss", {"step", "delta"}),
        (["loss=focal"], "focal_loss", {"alpha", "gamma"}),
        (["loss=ohem"], "ohem_loss", {"negatives_per_positive"}),
    ],
)
def test_the_loss_function_takes_the_arguments_given(overrides, name, arguments):
    chosen, given = loss_call(resolve(make_config(*overrides)))
    assert chosen == name and set(given) == arguments
    assert arguments <= set(inspect.signature(getattr(losses, name)).parameters)


@pytest.mark.slow
@pytest.mark.parametrize("group", ["dataset", "schedule", "model", "loss", "method"])
def test_every_option_of_every_group_composes(group):
    for path in (paths.CONF / group).glob("*.yaml"):
        config = make_config(f"{group}={path.stem}", *(["dataset.root=x"] if group == "dataset" else []))
        resolve(config)


@pytest.mark.slow
def test_a_recipe_can_have_a_learning_rate_for_each_loss():
    bccd = ["recipe=bccd", "dataset.root=BCCD"]
    rates = {loss: resolve(make_config(*bccd, f"loss={loss}")).schedule.learning_rate for loss in LOSSES}
    assert rates == {"ap": 0.03, "auc": 0.03, "focal": 0.03, "ohem": 0.01, "none": 0.03}
    given = make_config(*bccd, "loss=ohem", "schedule.learning_rate=0.01")
    assert run_id(given) == run_id(make_config(*bccd, "loss=ohem"))
    assert resolve(make_config(*bccd, "loss=ohem", "schedule.learning_rate=0.5")).schedule.learning_rate == 0.5
    with pytest.raises(UserError, match="no such loss"):
        resolve(make_config(*bccd, "loss.name=other"))


def test_a_folder_of_outputs_in_the_working_directory_is_no_group(tmp_path):
    (tmp_path / "outputs").mkdir()
    words = ["-m", "src.run", "outputs=elsewhere", "sweeps=table1", "--cfg", "job"]
    done = run_python(words, folder=tmp_path, fresh=True)
    assert done.returncode == 0 and "outputs: elsewhere" in done.stdout, done.stderr


def test_a_folder_is_named_after_itself():
    assert resolve(make_config("recipe=folder", "dataset.root=some/where")).dataset.name == "where"


@pytest.mark.slow
def test_identity_is_that_of_the_science():
    base = run_id(make_config())
    same = [
        "outputs=elsewhere",
        "workers=7",
        "device=cpu",
        "wandb.mode=disabled",
        "images_logged=1",
        "schedule.evaluate_every=1",
        "dataset.root=elsewhere",
        "delta=1",
    ]
    assert {run_id(make_config(override)) for override in same} == {base}
    other = [
        "delta=0.5",
        "interpolated=false",
        "batch_size=4",
        "seed=1",
        "loss=focal",
        "loss=auc",
        "precision=bf16",
        "schedule.epochs=1",
        "schedule.learning_rate=0.1",
        "dataset.train_size=64",
        "model.channels=32",
        "dataset.name=other",
        "loss=ohem",
        "step=heaviside",
        "step=sigmoid",
        "method=approximate_gradient",
        "method=structured_hinge",
        "model=ssd",
        "schedule.warmup_divisor=10",
        "schedule.backbone_rate=0.5",
        "schedule.optimizer=adamw",
        "test.scales=[64,96]",
        "test.mirror=true",
    ]
    assert len({run_id(make_config(override)) for override in other} | {base}) == len(other) + 1


@pytest.mark.slow
def test_options_that_the_loss_does_not_use_do_not_count():
    focal = [make_config("loss=focal", f"delta={d}", f"interpolated={i}") for d in (0.25, 4) for i in (True, False)]
    assert len({run_id(config) for config in focal}) == 1
    assert run_id(make_config("loss=auc", "interpolated=false")) == run_id(make_config("loss=auc"))
    assert run_id(make_config("loss=auc", "delta=2")) != run_id(make_config("loss=auc"))
    for overrides in (["loss=ohem"], ["method=structured_hinge"], ["step=heaviside"]):
        assert run_id(make_config(*overrides, "delta=2")) == run_id(make_config(*overrides))
    methods = [make_config(f"loss={loss}", "method=structured_hinge", "step=sigmoid") for loss in ("focal", "ohem")]
    assert [run_id(c) for c in methods] == [run_id(make_config(f"loss={loss}")) for loss in ("focal", "ohem")]
    approximate, unused = "method=approximate_gradient", ["interpolated=false", "step=heaviside"]
    assert run_id(make_config(approximate, *unused)) == run_id(make_config(approximate))
    assert run_id(make_config(approximate, "delta=2")) != run_id(make_config(approximate))


@pytest.mark.parametrize("words", [["model=ssd"], ["proposals=70", "attack=gaussian_noise"]])
def test_the_configuration_of_an_earlier_version_is_completed_to_one_of_the_same_id(words):
    plain = to_plain(make_config(*words))
    earlier = {key: dict(value) if isinstance(value, dict) else value for key, value in plain.items()}
    later = {
        "dataset": ["classes_as_one"],
        "schedule": ["steps", "optimizer", "warmup_divisor", "backbone_rate"],
        "model": ["nms_iou"],
    }
    for group, keys in later.items():
        for key in keys:
            del earlier[group][key]
    for key in ("rpn_epochs", "snapshot", *(("attack", "proposals", "test") if words == ["model=ssd"] else ())):
        del earlier[key]
    completed = with_later_keys(earlier)
    assert run_id(completed) == run_id(plain | {"rpn_epochs": 12})
    assert completed.keys() == plain.keys() and completed["model"].keys() == plain["model"].keys()


@pytest.mark.slow
def test_new_options_leave_old_ids_as_they_were():
    """Ids from before there were `method` and `step`."""
    known = {
        "loss=ap": "6028a9a63d",
        "delta=0.5": "20840be12e",
        "interpolated=false": "961ef0ac1d",
        "loss=auc": "a2df5ff823",
        "loss=focal": "75812a45e7",
    }
    # What the recipe was then; a recipe may change.
    then = ["model=retinanet", "dataset.train_size=96", "schedule.epochs=9", "schedule.evaluate_every=3"]
    then += ["dataset.augmentation=flip", "schedule.learning_rate=0.02"]
    assert {override: run_id(make_config(override, *then)) for override in known} == known


def test_identity_is_the_same_before_and_after_resolution():
    config = make_config("recipe=folder", "dataset.root=some/where")
    assert run_id(config) == run_id(resolve(config))
    assert "root" not in identity(config)["dataset"] and "outputs" not in identity(config)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("detla=1", "detla"),
        ("schedule.epoch=1", "schedule.epoch"),
        ("loss.gamma=1", "loss.gamma"),
        ("batch_size=many", "batch_size=many"),
        ("precision=fp8", "precision=fp8"),
        ("model.backbone=vgg", "model.backbone=vgg"),
        ("step=soft", "step=soft"),
        ("loss.negatives_per_positive=3", "loss.negatives_per_positive"),
    ],
)
def test_an_unknown_key_or_choice_is_named(override, message):
    with pytest.raises(ConfigCompositionException, match=message):
        make_config(override)


@pytest.mark.parametrize("option", ["loss/hinge", "method/hinge"])
def test_an_unknown_option_of_a_group_is_named(option):
    with pytest.raises(MissingConfigException, match=option):
        make_config(option.replace("/", "="))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["batch_size=0"], "batch_size=0 must be greater than 0"),
        (["loss=ohem", "loss.negatives_per_positive=0"], "loss.negatives_per_positive=0 must be greater than 0"),
        (["method=approximate_gradient", "method.epsilon=-1"], "method.epsilon=-1.0 must be at least 0"),
        (["delta=0"], "delta=0.0 must be from 1e-100"),
        (["dataset.train_size=100"], "dataset.train_size=100 must be a multiple of 32"),
        (["schedule.decay_at=[60]"], "schedule.decay_at"),
        (["recipe=bccd"], "no value given for dataset.root"),
        (["recipe=folder"], "no value given for dataset.root"),
        (["attack=deepfool", "test.mirror=true"], "attack=deepfool changes images at one scale"),
        (["attack=deepfool", "test.scales=[64,96]"], "leave out test.scales and test.mirror"),
    ],
)
def test_impossible_values_are_errors_that_name_the_key(overrides, message):
    with pytest.raises(UserError, match=message):
        resolve(make_config(*overrides))


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("outputs=2024_01_15", "20240115"),
        ("dataset.test=1e3", "1000.0"),
        ("dataset.classes=[1_2,cat]", "12"),
        ("outputs=true", "True"),
    ],
)
def test_text_that_would_be_kept_as_a_number_is_refused(override, read):
    config = make_config(override)
    with pytest.raises(UserError, match=f"{re.escape(override)}: .* is read as {read}; quote it"):
        resolve(config, [override])
    key, _, value = override.partition("=")
    quoted = f"{key}='{value}'" if value[0] != "[" else f"{key}=['1_2',cat]"
    resolve(make_config(quoted), [quoted])


@pytest.mark.slow
def test_missing_data_are_an_error_without_a_traceback(tmp_path):
    code, output = call_run("dataset.root=nowhere", "dataset=voc", f"outputs={tmp_path}")
    assert code == 1 and "error: dataset.root=nowhere: no such folder" in output and "Traceback" not in output


def test_a_missing_value_is_an_error_without_a_traceback(tmp_path):
    code, output = call_run("recipe=folder", f"outputs={tmp_path}", fresh=True)
    assert code == 1 and "error: no value given for dataset.root" in output and "Traceback" not in output


@pytest.mark.slow
def test_help_names_the_options_that_people_change():
    code, output = call_run("--help", fresh=True)
    assert code == 0
    for word in ("python -m src.run -m", "delta", "schedule.epochs", "dataset.root", "recipe: bccd", "wandb.mode"):
        assert word in output, word
    assert "schema" not in output and max(map(len, output.splitlines())) <= 120


def test_resolved_configuration_is_plain():
    plain = resolve(make_config())
    assert OmegaConf.is_dict(plain) and plain.precision == "fp32" and "$" not in OmegaConf.to_yaml(plain)
