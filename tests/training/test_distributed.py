import json
import shutil

import pytest
import torch

from analysis.reading.local import read_local
from src.config.identity import run_id, run_name
from src.config.registry import DETECTORS
from src.config.validate import resolve
from src.detectors.detector import build_detector
from src.training.data import build_data
from src.training.experiment import build_trainer
from src.utils.distributed import World
from src.utils.errors import UserError
from tests.support.configurations import make_config
from tests.support.exhaustive import EXHAUSTIVE
from tests.support.programs import run_python
from tests.support.runs import ONE_STEP, TINY, run_here, summary_of, weights
from tests.training.train_together import IN_FLOAT64

pytestmark = [pytest.mark.slow, pytest.mark.multiprocess]

# The losses that differ in what the processes exchange, and by whom the background is scored. All losses are compared
# between processes in tests/losses; here it is the step of training.
# With so many detections, DeepFool finds something by chance.
LOSSES = [["loss=ap", "model.score_threshold=0", "model.max_detections=1000"], ["loss=ohem"]]
if EXHAUSTIVE:
    LOSSES += [["loss=auc"], ["loss=focal"], ["step=sigmoid"]]
    LOSSES += [["method=approximate_gradient"], ["method=structured_hinge"]]


def train(processes: int, runs: list[list[str]]) -> None:
    """Make runs with these overrides, one after another, each with so many processes."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    program = ["-m", "tests.training.train_together"]
    done = run_python([*(torchrun if processes > 1 else []), *program, json.dumps(runs)], fresh=processes > 1)
    assert done.returncode == 0, done.stderr


# A detector that detects something, and attacks; what they leave in their folders is compared, and nothing is logged.
ATTACKED = [
    *("schedule.epochs=12", "schedule.evaluate_every=12"),
    *("schedule.learning_rate=0.05", "schedule.warmup_iterations=0"),
]
ATTACKS = [
    ["attack=deepfool", "attack.images=4", "attack.iterations=2"],
    ["attack=adversarial_patch", "attack.against=itself", "attack.steps=2"],
]


def assert_close(first, second):
    """Hold two dicts of weights together, but for the rounding of a network in float64."""
    for key, value in first.items():
        if value.is_floating_point():
            assert (value - second[key]).abs().max() <= 1e-6 * value.abs().max(), key


@pytest.fixture(scope="module")
def trained(tiny_data, tmp_path_factory):
    """The overrides of one step of each loss, and the outputs of one process, and those of two together.

    In the folder "attacked" beside the latter, two processes attack the detector that one has trained.
    """
    alone, together = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("together") / "outputs"
    runs = [[*TINY, f"dataset.root={tiny_data}", *ONE_STEP, *loss] for loss in LOSSES]
    detector = [*TINY, f"dataset.root={tiny_data}", *ATTACKED]
    attacks = [[*detector, *attack, "images_logged=2", "wandb.mode=disabled"] for attack in ATTACKS]
    train(1, [[*overrides, f"outputs={alone}"] for overrides in [*runs, *attacks]])
    name = run_id(make_config(*detector))
    shutil.copytree(alone / name, together.parent / "attacked" / name)
    per_process = [*runs[0], "ranking=per_process"]
    overlapping = [*runs[0], "overlap=true", f"outputs={together.with_name('overlapping')}"]
    train(
        2,
        [[*overrides, f"outputs={together}"] for overrides in [*runs, per_process]]
        + [[*overrides, f"outputs={together.parent / 'attacked'}"] for overrides in attacks]
        + [overlapping],
    )
    return runs, alone, together


@pytest.mark.parametrize("index", range(len(LOSSES)), ids=[loss[0] for loss in LOSSES])
def test_two_processes_make_the_step_that_one_makes(index, trained):
    runs, alone, together = trained
    name = run_id(make_config(*runs[index]))
    assert_close(weights(alone / name), weights(together / name))
    (one, two) = (next(r for r in read_local(outputs).all if r.run_id == name) for outputs in (alone, together))
    of_loss = ["ap_loss"] if one.config["loss.name"] == "ap" else []
    for key in ("loss", "classification_loss", "box_loss", "positives", "negatives", *of_loss):
        assert two.last(key) == pytest.approx(one.last(key), rel=1e-6), key
    summaries = [summary_of(outputs / name) for outputs in (alone, together)]
    assert summaries[0]["metrics"].keys() == summaries[1]["metrics"].keys()
    assert summaries[0]["metrics"]["AP50"] == pytest.approx(summaries[1]["metrics"]["AP50"], abs=0.1)


def test_the_step_is_the_same_with_overlap(trained):
    runs, alone, together = trained
    name = run_id(make_config(*runs[0], "overlap=true"))
    assert_close(weights(alone / name), weights(together.with_name("overlapping") / name))


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack[0] for attack in ATTACKS])
def test_two_processes_find_what_one_finds_under_attack(attack, trained, tiny_data):
    _, alone, together = trained
    name = run_id(make_config(*TINY, f"dataset.root={tiny_data}", *ATTACKED, *attack))
    first, second = (outputs / name for outputs in (alone, together.parent / "attacked"))
    metrics = [summary_of(directory)["metrics"] for directory in (first, second)]
    assert json.dumps(metrics[0]) == json.dumps(metrics[1])
    if "deepfool" in attack[0]:
        kept = [json.loads((directory / "deepfool.json").read_text()) for directory in (first, second)]
        assert kept[0] == kept[1] and len(kept[0]) == 4 and metrics[0]["deepfool/objects"] > 0
    else:
        making = [folder.parent / summary_of(folder)["needs"]["patch"] for folder in (first, second)]
        assert (making[0] / "patch.png").read_bytes() == (making[1] / "patch.png").read_bytes()
        assert (first / "detections.png").read_bytes() == (second / "detections.png").read_bytes()


def test_one_process_writes_and_logs(trained):
    runs, _, outputs = trained
    for directory in outputs.iterdir():
        assert len(list(directory.glob("wandb/*run-*"))) == 1 and len(list(directory.glob("claim.*"))) == 1
    assert len(list(outputs.iterdir())) == len(runs) + 1


def test_ranking_per_process_is_another_run(trained):
    runs, _, _ = trained
    ids = {run_id(make_config(*runs[0], *more)) for more in (["processes=2"], ["processes=1", "ranking=per_process"])}
    assert ids == {run_id(make_config(*runs[0]))}
    config = make_config(*runs[0], "ranking=per_process", "processes=2")
    assert run_id(config) not in ids and "ranking=per_process processes=2" in run_name(resolve(config))
    assert run_id(make_config(*runs[0], "ranking=per_process", "processes=4")) != run_id(config)
    # What is not ranked does not depend on who ranks.
    assert run_id(make_config("loss=focal", "ranking=per_process", "processes=2")) == run_id(make_config("loss=focal"))


def test_ranking_per_process_descends_the_mean_of_the_processes_losses(trained, monkeypatch):
    runs, _, outputs = trained
    monkeypatch.setitem(DETECTORS, "ssd", IN_FLOAT64)
    config = resolve(make_config(*runs[0]))
    detector = build_detector(config.model, config.dataset.train_size)
    data = build_data(config, detector.normalisation, World())
    torch.manual_seed(config.seed)
    alone = build_trainer(config, detector, data, torch.device("cpu"), World())
    loss = alone.classification_loss
    alone.classification_loss = lambda logits, targets: sum(map(loss, logits.chunk(2), targets.chunk(2))) / 2
    (batch,) = data.training_batches(epoch=0)
    values = alone.step(batch).read()
    name = run_id(make_config(*runs[0], "ranking=per_process", "processes=2"))
    (together,) = (run for run in read_local(outputs).all if run.run_id == name)
    assert together.last("classification_loss") == pytest.approx(values["classification_loss"], rel=1e-6)
    assert_close(alone.model.state_dict(), weights(outputs / name))


def test_the_number_of_processes_must_be_that_of_torchrun_and_divide_the_batch(tiny):
    with pytest.raises(UserError, match="processes=2, but 1 started; start them with torchrun"):
        run_here(*tiny, "processes=2")
    with pytest.raises(UserError, match="batch_size=4 must be a multiple of processes=3"):
        run_here(*tiny, "processes=3")
