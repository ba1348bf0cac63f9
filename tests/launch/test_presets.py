"""Files of sweeps/ and slurm/ that are unknown, damaged or without effect are refused before anything runs."""

import shutil

import pytest

from src.launch.presets import check_chosen, check_presets, register_presets
from src.launch.program import program_of_sweep
from src.utils import paths
from src.utils.errors import UserError
from tests.support.configurations import compose_config, compose_sweep, make_config

PRESETS = sorted(path.stem for path in paths.SLURM.glob("*.yaml"))
SWEEPS = sorted(path.stem for path in paths.SWEEPS.glob("*.yaml"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of slurm/ that is used in its place."""
    shutil.copytree(paths.SLURM, tmp_path / "slurm")
    monkeypatch.setattr(paths, "SLURM", tmp_path / "slurm")
    return tmp_path / "slurm"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("slurm=gqu", "there is no slurm/gqu.yaml; do you mean slurm=gpu? There are gpu, gpus, one_machine, preempt"),
        ("slurm=GPU", "do you mean slurm=gpu?"),
        ("+slurm='gqu'", "there is no slurm/gqu.yaml"),
        ("slurm=", "there is no slurm/.yaml"),
        ("sweeps=tabel1", "do you mean sweeps=table1? There are costs, figure10"),
        ("sweeps=table1,table2", "choose one file of sweeps/ at a time"),
    ],
)
def test_a_name_that_is_none_is_refused_with_those_that_are(argument, message):
    with pytest.raises(UserError) as refusal:
        check_presets(["loss=ap", argument, "seed=0,1"])
    assert message in str(refusal.value)


def test_names_that_are_some_pass():
    check_presets(["slurm=gpu", "sweeps=table1", "slurm=null", "loss=focall", "slurm.x=y", "-m"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("hydra: [", "is no valid YAML"),
        ("a: 1\na: 2\n", "is no valid YAML"),
        ("- gpu\n", "must consist of `key: value`"),
        (b"name: \xff\xfe", "cannot be read"),
        ("hydra:\n  launcher:\n    timeout_min: 24:00:00  # a day\n", "has 24:00:00, which YAML takes for a number"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_and_the_others_work(folder, content, message):
    (folder / "mine.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    register_presets()
    assert compose_config(("slurm=gpu",)) == make_config()
    check_presets(["slurm=gpu"])
    with pytest.raises(UserError) as refusal:
        check_presets(["slurm=mine"])
    assert str(refusal.value).startswith(f"slurm=mine: {folder / 'mine.yaml'} {message}")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("here", "processes: 1\n", "does not choose the launcher, so that the sweep would run here"),
        (
            "undone",
            "defaults: [_self_, gpu]\nhydra: {launcher: {partition: mine}}\n",
            "has hydra.launcher.partition=mine, but the result is None",
        ),
    ],
)
def test_a_file_without_effect_is_refused(folder, name, content, message):
    (folder / f"{name}.yaml").write_text(content)
    register_presets()
    with pytest.raises(UserError) as refusal:
        check_chosen(compose_sweep(f"slurm={name}")[0])
    assert message in str(refusal.value)


@pytest.mark.parametrize("argument", [f"slurm={name}" for name in PRESETS] + ["sweeps=table1", "sweeps=proposition1"])
def test_the_files_here_have_their_effect(argument):
    module = program_of_sweep(argument.partition("=")[2]) if argument.startswith("sweeps") else "src.run"
    check_chosen(compose_sweep(argument, module=module)[0])


@pytest.mark.slow
def test_the_command_line_may_override_a_file():
    words = ["slurm=gpu", "hydra.launcher.partition=x", "hydra.launcher.setup=[a]", "sweeps=figure8", "delta=3"]
    check_chosen(compose_sweep(*words)[0])
