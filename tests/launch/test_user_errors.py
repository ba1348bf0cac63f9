"""User errors before the first run are printed without a traceback."""

import re
import shutil
import subprocess
import sys

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError

from src.config.validate import resolve
from src.launch.cli import explain_configuration, given_value, options_first, say_what_has_no_effect
from src.utils import paths
from src.utils.quoting import override
from tests.support.configurations import compose_sweep, make_config


def run(*command, cwd=paths.ROOT):
    return subprocess.run([sys.executable, "-m", *command], cwd=cwd, capture_output=True, text=True)


def test_a_sweep_of_another_program_is_an_error_before_it_starts(tmp_path):
    done = run("src.run", "-m", "sweeps=proposition1", f"outputs={tmp_path}")
    assert done.returncode == 1 and "error: sweeps=proposition1 is a sweep of python -m src.linear" in done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [("-m", "outputs="), ("outputs='~/runs'",)])
def test_outputs_that_are_refused_leave_no_folder(words, tmp_path):
    for folder in ("conf", "sweeps", "slurm", "src"):
        (tmp_path / folder).symlink_to(paths.ROOT / folder)
    done = run("src.run", *words, cwd=tmp_path)
    assert done.returncode == 1 and "must be the name of a folder" in done.stderr
    assert len([*tmp_path.iterdir()]) == 4


@pytest.mark.parametrize(
    "words",
    [
        ("src.run", "delta=-1"),
        ("src.run", "sweeps=table1"),
        ("src.run", "-m", "delta=-1,-2"),
        ("src.inspect", "delta=-1"),
        ("src.linear", "steps=-1"),
    ],
)
def test_a_refused_configuration_leaves_no_folder(words, tmp_path):
    done = run(*words, f"outputs={tmp_path / 'outputs'}")
    assert done.returncode == 1 and "error: " in done.stderr
    assert not list(tmp_path.iterdir())


def test_help_prints_in_an_encoding_that_lacks_some_of_its_signs(monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    done = run("src.run", "--help")
    assert (done.returncode, done.stderr) == (0, "") and "?" in done.stdout and "loss=" in done.stdout


def test_a_sweep_of_impossible_runs_alone_is_not_recorded(tmp_path):
    done = run("src.run", "-m", "loss=ap,focal", "batch_size=-1", f"outputs={tmp_path}")
    assert done.returncode == 1 and "batch_size=-1 must be greater than 0" in done.stdout + done.stderr
    assert not list(tmp_path.glob(".sweeps/*"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["loss=ap", "-m", "delta=1,2"], ["-m", "loss=ap", "delta=1,2"]),
        (["-m", "loss=ap"], ["-m", "loss=ap"]),
        (
            ["loss=ap", "--cfg", "job", "~x", "--config-dir", "a=b"],
            ["--cfg", "job", "--config-dir", "a=b", "loss=ap", "~x"],
        ),
        (["-m", "loss=ap,focal", "--help"], ["--help"]),
    ],
)
def test_overrides_may_be_on_both_sides_of_an_option(words, expected):
    assert options_first(words) == expected


@pytest.mark.parametrize("program", ["src.linear", "src.status"])
def test_without_conf_the_error_asks_for_a_checkout(program, tmp_path):
    shutil.copytree(paths.SRC, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    done = run(program, cwd=tmp_path)
    assert done.returncode == 1 and f"error: {tmp_path / 'conf'} does not exist" in done.stderr
    assert "pip install -e ." in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [(), ("-m",)])
def test_another_programs_configuration_is_refused(words, tmp_path):
    done = run("src.run", *words, "-cn", "linear", f"outputs={tmp_path}")
    assert done.stderr == "error: --config-name linear: python -m src.run takes only config\n"
    assert done.returncode == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-m", "loss=ap,focal", "--cfg", "job"), "--multirun and --cfg exclude each other"),
        (("--resolve",), "--resolve: only with --cfg"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words, message, tmp_path):
    done = run("src.run", *words, f"outputs={tmp_path}")
    assert done.stderr == f"error: {message}\n" and done.returncode == 1


def test_several_values_without_m_come_with_what_they_may_mean():
    with pytest.raises(ConfigCompositionException) as caught:
        make_config("loss=ap,focal")
    message = "loss=ap,focal: a sweep needs -m; one list is 'loss=[ap,focal]', one text 'loss=\"ap,focal\"'"
    assert explain_configuration(caught.value) == message


@pytest.mark.parametrize("value", ["~/data", "data (1)", "数", "a=b", "[it's]"])
def test_a_value_that_hydra_cannot_read_is_named_with_its_quotes(value):
    with pytest.raises(OverrideParseException) as caught:
        OverridesParser.create().parse_overrides([f"dataset.root={value}"])
    message = explain_configuration(caught.value)
    assert message.startswith(f"dataset.root={value}: ") and message.endswith(override("dataset.root", value))


def test_the_texts_of_a_list_that_hydra_cannot_read_are_named_with_their_quotes():
    with pytest.raises(OverrideParseException) as caught:
        OverridesParser.create().parse_overrides(["dataset.classes=[café, dog]"])
    assert """quote the texts in it: 'dataset.classes=["café",dog]';""" in explain_configuration(caught.value)
    (given,) = OverridesParser.create().parse_overrides(['dataset.classes=["café",dog]'])
    assert [str(text) for text in given.value()] == ["café", "dog"]


@pytest.mark.parametrize(
    ("words", "unused"),
    [
        (["loss=focal", "delta=3", "seed=1"], "loss=focal: delta=3"),
        (["loss=auc", "method=structured_hinge", "interpolated=false"], "method=structured_hinge, interpolated=false"),
        (["step=heaviside", "delta=2", "rpn_epochs=4"], "loss=ap: delta=2, rpn_epochs=4"),
        (["delta=2", "method=error_driven", "proposals=9", "rpn_epochs=4"], ""),
    ],
)
def test_options_that_a_run_does_not_use_are_named(words, unused, caplog):
    caplog.set_level("INFO")
    say_what_has_no_effect(resolve(make_config(*words)), words)
    assert bool(unused) == ("Without effect" in caplog.text) and unused in caplog.text


@pytest.mark.parametrize("variable", ["RANK", "SLURM_PROCID"])
def test_options_without_effect_are_named_by_the_first_process_alone(variable, monkeypatch, caplog):
    caplog.set_level("INFO")
    for rank, named in (("1", False), ("0", True)):
        monkeypatch.setenv(variable, rank)
        say_what_has_no_effect(resolve(make_config("loss=focal", "delta=3")), ["loss=focal", "delta=3"])
        assert ("Without effect" in caplog.text) == named


@pytest.mark.parametrize("word", ["schedule.decay_at=0.5", "test.scales=400", "dataset.classes=dog"])
def test_a_value_in_place_of_a_list_comes_with_the_list(word):
    with pytest.raises(ConfigCompositionException) as caught:
        make_config(word)
    key, _, value = word.partition("=")
    assert explain_configuration(caught.value) == f"{word}: this takes a list: '{key}=[{value}]'"


@pytest.mark.parametrize("word", ["seed=[0,1]", "seed=[0, 1]", "dataset.train=[train,val]", "wandb.mode=[a]"])
def test_a_list_in_place_of_a_value_comes_with_the_sweep(word):
    with pytest.raises(ConfigCompositionException) as caught:
        make_config(word)
    sweep = re.sub(r"[\[\] ]", "", word)
    assert explain_configuration(caught.value) == f"{word}: this takes one value; a sweep over several is -m {sweep}"


def test_an_interval_comes_with_what_a_sweep_needs():
    with pytest.raises(HydraException) as caught:
        compose_sweep("delta=interval(0,1)")
    assert explain_configuration(caught.value).endswith("a sweep needs each of them: delta=0.25,0.5,1")


@pytest.mark.parametrize("word", ["seed", "1", "a b", "batch_size=1,2,"])
def test_a_word_without_a_value_comes_with_how_options_are_given(word):
    with pytest.raises(OverrideParseException) as caught:
        OverridesParser.create().parse_overrides([word])
    assert explain_configuration(caught.value).startswith(f"{word}: options are KEY=VALUE")


def test_outputs_that_hydra_cannot_read_are_named_with_their_quotes():
    with pytest.raises(OverrideParseException) as caught:
        given_value(["seed=1", "outputs=runs (1)"], "outputs")
    assert explain_configuration(caught.value).endswith("quote it: 'outputs=\"runs (1)\"'")


def test_an_error_of_a_resolver_is_printed_as_it_is():
    config = make_config("snapshot=other")
    with pytest.raises(InterpolationResolutionError) as caught:
        OmegaConf.create({"id": "${run_id:}"}, parent=config).id  # noqa: B018
    message = explain_configuration(caught.value)
    assert message.startswith('snapshot="other": other is neither') and "full_key" not in message
