"""Values that a configuration must not have are refused by name, before anything is read or trained."""

import inspect
import math

import pytest
import torch
from omegaconf import OmegaConf

from src.config.identity import identity, run_id
from src.config.registry import DETECTORS
from src.config.validate import resolve
from src.config.value_ranges import DELTA, RANGES
from src.detectors.postprocess import detect, detect_by_class
from src.losses import step_function
from src.utils.errors import UserError
from tests.support.configurations import make_config

NOT_FINITE = [math.nan, math.inf, -math.inf]
WRONG = {
    "batch_size": [0, -8],
    "seed": [-1, 9223372036854775808, 18446744073709551616],
    "processes": [0, -1],
    "workers": [-1],
    "checkpoint_minutes": [0, -1, math.nan],
    "images_logged": [-1, 1001],
    "delta": [0, -1, 1e-101, 1e101, *NOT_FINITE],
    "schedule.epochs": [0, -1],
    "schedule.steps": [0, -1],
    "proposals": [0, -1, "many", "500"],
    "rpn_epochs": [0, -1],
    "schedule.evaluate_every": [0, -3],
    "schedule.learning_rate": [0, -0.1, 1e300, *NOT_FINITE],
    "schedule.backbone_rate": [-1, 1e300, *NOT_FINITE],
    "schedule.reference_batch_size": [0],
    "schedule.warmup_iterations": [-1],
    "schedule.warmup_divisor": [0, 0.5, -3, *NOT_FINITE],
    "schedule.decay_at": [[0.0], [1.5], [-0.5], [math.nan], [0.5, 60.0]],
    "schedule.momentum": [1, 1.5, -0.1, math.nan],
    "schedule.weight_decay": [-1, 1e300, *NOT_FINITE],
    "schedule.box_loss_weight": [-1, *NOT_FINITE],
    "schedule.clip_gradient": [0, -1, math.nan],
    "dataset.train_size": [0, -32, 16, 100, 1000000000],
    "dataset.test_longer_side": [0, -1, 1000000000],
    "dataset.classes": [[], ["a", "b", "a"], ["a", ""], ["  "], [["a"]]],
    "test.scales": [[], [0], [400, 400], [9000], [[400]]],
    "model.channels": [0, -8, 1],
    "model.head_convolutions": [-1],
    "model.anchor_scale": [0, -4, 1e38, *NOT_FINITE],
    "model.score_threshold": [-0.1, 1.1, math.nan],
    "model.candidates_per_level": [0],
    "model.nms_iou": [-0.1, 1.1, math.nan],
    "model.max_detections": [0, -100],
    "wandb.project": ["", "a/b", "a:b", "x" * 129],
    "outputs": ["", " ", "~/runs"],
}
OF_A_CHOICE = {
    "loss.negatives_per_positive": ("loss=ohem", [0]),
    "loss.alpha": ("loss=focal", [-0.1, 1.1, math.nan]),
    "loss.gamma": ("loss=focal", [-1, *NOT_FINITE]),
    "model.scales": ("model=ssd", [[0.1, 0.2], [0.1, 0.9, 0.2], [0, 0.2, 0.9], [0.1, 0.2, 1.5], [0.1, math.nan, 0.9]]),
    "model.candidates_per_class": ("model=ssd", [0, -1]),
    "method.epsilon": ("method=approximate_gradient", [-1, *NOT_FINITE]),
    "attack.standard_deviation": ("attack=gaussian_noise", [-1, *NOT_FINITE]),
    "attack.images": ("attack=deepfool", [0, -1]),
    "attack.iterations": ("attack=deepfool", [0]),
    "attack.overshoot": ("attack=deepfool", [-1, *NOT_FINITE]),
    "attack.steps": ("attack=patch_making", [-1]),
    "attack.learning_rate": ("attack=patch_making", [0, *NOT_FINITE]),
    "attack.side": ("attack=patch_making", [0]),
    "attack.shift": ("attack=patch_making", [-1, *NOT_FINITE]),
    "attack.scale": ("attack=patch_making", [-0.1, 1, math.nan]),
    "attack.rotation": ("attack=patch_making", [-1, *NOT_FINITE]),
    "attack.brightness": ("attack=patch_making", [-0.1, 1.1, math.nan]),
}
CASES = [([], key, value) for key, values in WRONG.items() for value in values]
CASES += [([choice], key, value) for key, (choice, values) in OF_A_CHOICE.items() for value in values]


def test_the_range_of_delta_is_that_of_the_losses():
    for delta in (1e-100, 1e100):
        assert DELTA.contains(delta) and step_function(torch.zeros(1, dtype=torch.float64), delta=delta) == 0.5
    for delta in (9e-101, 1.1e100):
        with pytest.raises(ValueError, match=DELTA.words.replace("+", r"\+")):
            step_function(torch.zeros(1, dtype=torch.float64), delta=delta)


def test_every_range_is_tried():
    assert WRONG.keys() | OF_A_CHOICE.keys() == RANGES.keys()


@pytest.mark.parametrize(("choice", "key", "value"), CASES)
def test_a_value_out_of_range_is_named_with_its_key_and_the_range(choice, key, value):
    config = make_config(*choice)
    OmegaConf.update(config, key, value)
    with pytest.raises(UserError) as refused:
        resolve(config)
    message = str(refused.value)
    assert message.startswith(f"{key}=") and message.endswith(f" must be {RANGES[key].words}"), message


@pytest.mark.parametrize(
    "words",
    [
        ["schedule.clip_gradient=null", "dataset.classes=null"],
        ["schedule.clip_gradient=0.5", "dataset.classes=[a,b]", "schedule.decay_at=[]", "checkpoint_minutes=1e-9"],
        ["schedule.momentum=0", "schedule.weight_decay=0", "schedule.box_loss_weight=0", "workers=0"],
        ["model.score_threshold=0", "model.nms_iou=1", "model.max_detections=1", "seed=9223372036854775807"],
        ["dataset.train_size=8192", "batch_size=1", "dataset.test_shorter_side=833", "dataset.test_longer_side=833"],
        ["loss=focal", "delta=0", "loss.alpha=0", "loss.gamma=0"],  # focal loss has no δ
        ["dataset.classes=['ca$$h','a b','1']", "images_logged=1000"],
    ],
)
def test_values_at_the_ends_of_their_ranges_are_taken(words):
    resolve(make_config(*words))


def test_a_compiled_network_is_trained_by_one_process():
    resolve(make_config("compile=true"))
    with pytest.raises(UserError, match="compile=true is for one process, not processes=2"):
        resolve(make_config("compile=true", "processes=2"))


@pytest.mark.slow
def test_test_images_shorter_side_is_at_most_the_longer():
    for shorter in ("0", "-5", "834", "900"):
        with pytest.raises(UserError, match=f"dataset.test_shorter_side={shorter} must be null, or .* at most"):
            resolve(make_config(f"dataset.test_shorter_side={shorter}"))


def test_a_batch_norm_of_one_value_is_refused_by_both_keys():
    with pytest.raises(UserError, match="dataset.train_size=32 with one image in a batch.*batch_size=1"):
        resolve(make_config("dataset.train_size=32", "batch_size=1"))
    resolve(make_config("dataset.train_size=32", "batch_size=2"))
    resolve(make_config("dataset.train_size=64", "batch_size=1"))
    # Frozen batch norms compute no statistics.
    resolve(make_config("dataset.train_size=32", "batch_size=1", "model.weights=imagenet"))


@pytest.mark.parametrize("model", ["retinanet", "ssd"])
def test_random_weights_are_not_frozen(model):
    frozen = [f"model={model}", "schedule.backbone_rate=0"]
    with pytest.raises(UserError, match="backbone_rate=0 would keep the random weights of model.weights=null"):
        resolve(make_config(*frozen))
    resolve(make_config(*frozen, "model.weights=imagenet"))
    resolve(make_config(*frozen, "snapshot='schedule.backbone_rate:1'"))
    with pytest.raises(UserError, match='in the run of snapshot="seed:5": schedule.backbone_rate=0 would .* KEY:VALUE'):
        resolve(make_config(*frozen, "snapshot=seed:5"))


def test_detection_has_the_papers_values_by_default_and_old_ids():
    model = resolve(make_config()).model
    defaults = {name: parameter.default for name, parameter in inspect.signature(detect).parameters.items()}
    del defaults["outputs"]
    assert defaults == {key: model[key] for key in defaults}
    assert defaults == {
        "score_threshold": 0.01,
        "candidates_per_level": 1000,
        "nms_iou": 0.5,
        "max_detections": 100,
    }
    new = {"candidates_per_level", "nms_iou", "max_detections"}
    assert not new & identity(make_config())["model"].keys()
    changed = ["model.nms_iou=0.45", "model.max_detections=300", "model.candidates_per_level=400"]
    assert len({run_id(make_config(word)) for word in changed} | {run_id(make_config())}) == 4


def test_ssd_has_its_own_values_and_the_paper_s_where_it_gives_one():
    config = resolve(make_config("recipe=voc", "model=ssd", "loss=focal", "dataset.root=DIR"))
    model = config.model
    assert (model.weights, model.normalisation, model.channels, model.scales) == (
        "imagenet",
        "imagenet",
        64,
        [0.07, 0.15, 0.9],
    )
    assert (model.score_threshold, model.candidates_per_class, model.nms_iou, model.max_detections) == (
        0.01,
        400,
        0.5,
        200,
    )
    assert config.dataset.test_shorter_side is None and config.dataset.train_size == 512
    assert config.loss.gamma == 1.0 and config.loss.alpha == 0.25 and config.schedule.warmup_divisor == 1000
    retinanet = resolve(make_config("recipe=voc", "loss=focal", "dataset.root=DIR"))
    coco = resolve(make_config("recipe=coco", "dataset.root=DIR"))
    assert retinanet.dataset.test_shorter_side == coco.dataset.test_shorter_side == 600 and retinanet.loss.gamma == 2.0
    assert {**config.schedule, "warmup_divisor": 3} == retinanet.schedule
    caps = {name: parameter.default for name, parameter in inspect.signature(detect_by_class).parameters.items()}
    authors = resolve(make_config("recipe=voc_ssd", "dataset.root=DIR"))
    assert {name: authors.model[name] for name in caps if name != "outputs"} == {
        name: value for name, value in caps.items() if name != "outputs"
    }
    assert (authors.batch_size, authors.schedule.weight_decay, authors.schedule.box_loss_weight) == (32, 0.0005, 4)


def test_a_recipe_in_small_is_small_for_each_detector():
    small = {name: resolve(make_config(f"model={name}")).model for name in DETECTORS}
    assert all(model.weights is None and model.channels < 256 for model in small.values())
    full = resolve(make_config("model=ssd", "model.small=false"))
    assert full.model.weights == "imagenet" and full.model.channels == 64
    by_hand = ["model=ssd", "model.weights=null", "model.channels=16", "model.scales=[0.12,0.25,0.9]"]
    config = make_config(*by_hand, "model.small=false")
    assert run_id(config) == run_id(make_config("model=ssd"))
    words = ["model=ssd", "model.small=false"]
    assert resolve(make_config(*words), words).command.canonical.endswith("recipe=mini model=ssd model.small=false")


@pytest.mark.parametrize(("recipe", "base"), [("voc_paper", "voc"), ("coco_paper", "coco")])
def test_the_papers_own_setting_is_one_recipe(recipe, base):
    words = [f"recipe={recipe}", "dataset.root=DIR"]
    config = resolve(make_config(*words), words)
    assert (config.processes, config.batch_size, config.ranking) == (2, 16, "per_process")
    schedule = config.schedule
    assert schedule.learning_rate * config.batch_size / schedule.reference_batch_size == 0.001
    assert config.command.canonical == f"torchrun --nproc-per-node 2 -m src.run recipe={recipe} dataset.root=DIR"
    by_hand = ["processes=2", "batch_size=16", "ranking=per_process"]
    assert run_id(config) == run_id(make_config(f"recipe={base}", "dataset.root=DIR", *by_hand))
    # Eight images on one GPU, half of the step, take half of the learning rate.
    alone = resolve(make_config(f"recipe={base}", "dataset.root=DIR"))
    assert alone.batch_size == 8 and alone.processes == 1
    assert schedule == alone.schedule and run_id(alone) != run_id(config)


def test_a_recipe_that_fixes_processes_is_started_with_them_whatever_the_loss():
    words = ["recipe=voc_paper", "dataset.root=DIR", "loss=focal"]
    command = resolve(make_config(*words), words).command.canonical
    assert command == "torchrun --nproc-per-node 2 -m src.run recipe=voc_paper dataset.root=DIR loss=focal"
    words = [*words, "processes=1"]
    command = resolve(make_config(*words), words).command.canonical
    assert command == "python -m src.run recipe=voc_paper dataset.root=DIR loss=focal processes=1"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (r"dataset.classes=['\${oc.env:HOME}']", r"dataset.classes=\$\{oc.env:HOME\}: \$\{ begins a reference"),
        (r"dataset.root='/data/\${x'", r"dataset.root=/data/\$\{x: \$\{ begins a reference"),
        ("dataset.classes=[cat,'???']", r"no value given for dataset\.classes"),
        ("outputs='caf\udce9'", r"outputs=caf\\xe9: this is not UTF-8"),
    ],
)
def test_a_text_that_would_not_stay_as_it_is_is_refused(word, message):
    with pytest.raises(UserError, match=message):
        resolve(make_config("recipe=folder", "dataset.root=DIR", word))
