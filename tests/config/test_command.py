import shlex
import subprocess

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from src.config.command import canonical_words, command_line
from src.config.identity import run_id
from src.config.validate import resolve
from src.utils.quoting import hydra_quoted
from tests.support.configurations import make_config

# What Hydra takes for a number or a truth value, or does not take without quotes.
READ_OTHERWISE = ["2024_01_15", "1e3", "1.50", "nan", "true", "null", "~old"]
AWKWARD = ["it's", 'say "hi"', "back\\slash", "end\\", '\\"', "[x]=1;&|<>", "a~b", "007"]
FOLDERS = ["plain", "data (1)", "a,b", "cost $5", "naïve 数", "数", *AWKWARD]


@pytest.mark.parametrize("text", [*FOLDERS, *READ_OTHERWISE, "/scratch/me/out-1.2", "a@b:c+d%e"])
def test_hydra_reads_a_quoted_text_as_it_is(text):
    assert OverridesParser.create().parse_override(f"key={hydra_quoted(text)}").value() == text


def test_what_needs_no_quotes_has_none():
    assert hydra_quoted("/scratch/2012+2007/out-1.2_b") == "/scratch/2012+2007/out-1.2_b"


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_printed_command_pasted_into_bash_composes_the_same_run(folder):
    words = ["recipe=folder", f"dataset.root={hydra_quoted(folder)}", "seed=3"]
    config = resolve(make_config(*words), words)
    assert config.dataset.root == folder
    command = config.command.canonical
    received = subprocess.run(
        ["bash", "-c", command.replace("python -m src.run", "printf '%s\\0'", 1)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")[:-1]
    again = resolve(make_config(*received))
    assert again.dataset.root == folder and run_id(again) == run_id(config)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["loss=focal", "loss.gamma=1", "delta=3"],
        ["method=approximate_gradient", "method.epsilon=0.001", "seed=5"],
        ["schedule.decay_at=[0.5,0.7]", "model.weights=null", "batch_size=4", "step=heaviside", "interpolated=false"],
        ["seed=1", "recipe=voc", "dataset.root='a b'", "seed=2", "schedule.evaluate_every=3", "workers=7"],
        ["recipe=bccd", "dataset.root=x", "loss=ohem", "schedule.learning_rate=0.03"],
    ],
)
def test_the_canonical_command_makes_the_same_run(words):
    config = resolve(make_config(*words), words)
    python, m, module, *received = shlex.split(config.command.canonical)
    assert (python, m, module) == ("python", "-m", "src.run")
    assert run_id(resolve(make_config(*received))) == run_id(config)
    assert received[0].startswith("recipe=") and len(received) == len({word.split("=")[0] for word in received})


def test_the_canonical_command_lacks_what_decides_no_number():
    words = ["loss=focal", "delta=2", "outputs=x", "workers=3", "wandb.mode=disabled", "schedule.evaluate_every=1"]
    assert resolve(make_config(*words), words).command.canonical == "python -m src.run recipe=mini loss=focal"
    words = ["ranking=per_process", "processes=2", "batch_size=8"]
    command = resolve(make_config(*words), words).command.canonical
    assert command.startswith("torchrun --nproc-per-node 2 -m src.run recipe=mini") and "processes" not in command


def test_words_have_a_fixed_order_and_the_last_of_a_key_counts():
    words = ["seed=1", "delta=2", "dataset.root=a", "recipe=voc", "seed=4", "hydra.launcher.partition=gpu"]
    assert canonical_words(words, {"hydra"}) == ["recipe=voc", "dataset.root=a", "delta=2", "seed=4"]
    assert command_line("src.linear", ["steps=3"], ["-m"]) == "python -m src.linear -m steps=3"


def test_values_by_loss_are_those_of_the_recipe_for_every_loss():
    config = resolve(make_config("recipe=bccd", "dataset.root=x", "loss=ohem"))
    rates = {"ohem": 0.01, "focal": 0.03, "auc": 0.03, "ap": 0.03}
    assert OmegaConf.to_container(config.by_loss) == {"schedule.learning_rate": rates}
    assert config.schedule.learning_rate == 0.01
    assert resolve(make_config("schedule.learning_rate=0.1")).by_loss == {}


def test_resolving_again_changes_nothing():
    words = ["loss=auc", "seed=9"]
    config = resolve(make_config(*words), words, typed="python -m src.run -m loss=auc seed=9,10")
    assert resolve(config) == config
