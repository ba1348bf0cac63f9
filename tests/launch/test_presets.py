"""Files of sweeps/ and slurm/ that are unknown, damaged or without effect are refused before anything runs."""

import dataclasses
import re
import shutil

import pytest
from hydra.errors import HydraException

from src.launch.cli import explain_configuration
from src.launch.presets import check_arguments, check_chosen, register_presets, similar_key
from src.launch.program import program_of_sweep
from src.launch.slurm_launcher import SlurmLauncher, SlurmLauncherConfig
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
        ("+epochs=5", "+epochs=5: no key can be added or removed; do you mean schedule.epochs"),
        ("++detla=5", "do you mean delta"),
        ("~step", "no key can be added or removed; do you mean step"),
        ("+schedule.lr=1", "no key can be added or removed; --cfg job shows"),
        ("attack=null", "attack=null: choose one of adversarial_patch, black_patch"),
        ("recipe='null'", "choose one of bccd, coco"),
        ("dataset=2007", "dataset=2007: choose one of bccd, coco"),
        ("loss=ap,1", "loss=ap,1: choose one of ap, auc"),
        ("loss=[ap,focal]", "loss=[ap,focal]: choose one of ap, auc"),
        ("=1", "=1: options are KEY=VALUE"),
        ("hydra/launcher=submitit_slurm", "runs need hydra/launcher=basic or slurm; slurm=gpu sends a sweep to SLURM"),
        ("hydra.run.dir=DIR", "hydra.run.dir=DIR: choose the folder with outputs=DIR"),
        ("++hydra.job.chdir=true", "choose the folder with outputs=DIR"),
        ("hydra/sweeper=basic", "runs need hydra/sweeper=union"),
        ("hydra/job_logging='disabled'", "hydra/job_logging='disabled': runs need a log"),
        ("+loss.gamma=1", "no key can be added or removed; only loss=focal has it"),
        ("+dataset.root=DIR", "do you mean dataset.root"),
        ("+model.nms_iou=0.4", "do you mean model.nms_iou"),
        ("+schedule.momentum=0.8", "do you mean schedule.momentum"),
        ("+model.channels=64", "do you mean model.channels"),
        ("+model.backbone=x", "only model=retinanet, model=retinanet_lite, model=retinanet_mini have it"),
    ],
)
def test_a_name_that_is_none_is_refused_with_those_that_are(argument, message):
    with pytest.raises(UserError) as refusal:
        check_arguments(["loss=ap", argument, "seed=0,1"])
    assert message in str(refusal.value)


def test_two_files_of_a_group_are_refused():
    with pytest.raises(UserError, match="sweeps=table2: choose one file of sweeps/ at a time"):
        check_arguments(["sweeps=table1", "loss=ap", "sweeps=table2"])


@pytest.mark.parametrize("key", ["reservation", "additional_parameters.reservation"])
def test_a_key_that_the_launcher_lacks_comes_with_how_to_give_it_to_sbatch(key):
    assert "+hydra.launcher.additional_parameters.OPTION=VALUE" in similar_key(f"hydra.launcher.{key}")


def test_a_key_that_hydra_lacks_comes_with_how_to_list_its_keys():
    for key in ("hydra.sweep.dri", "hydra.seed"):
        assert similar_key(key) == "; --cfg hydra lists those that exist"


def test_a_key_that_is_added_to_the_launcher_is_refused(tmp_path):
    parameters = dataclasses.asdict(SlurmLauncherConfig())
    SlurmLauncher(**parameters)._check_parameters(tmp_path)
    with pytest.raises(UserError, match="hydra.launcher has no reservation; .*additional_parameters.OPTION=VALUE"):
        SlurmLauncher(**parameters, reservation="x")._check_parameters(tmp_path)


@pytest.mark.parametrize("option", ["array", "output"])
def test_options_of_sbatch_that_the_launcher_sets_are_refused(option, tmp_path):
    parameters = {**dataclasses.asdict(SlurmLauncherConfig()), "additional_parameters": {option: "0-5"}}
    with pytest.raises(UserError, match=rf"additional_parameters\.{option}: the launcher sets this itself"):
        SlurmLauncher(**parameters)._check_parameters(tmp_path)


@pytest.mark.parametrize(
    ("name", "signs"), [("100%", "%"), ("a\\b", "\\"), ("a\nb%", "% and line ends"), ("a b=ü,$", None)]
)
def test_outputs_whose_logs_slurm_would_name_otherwise_are_refused(name, signs, tmp_path):
    launcher = SlurmLauncher(**dataclasses.asdict(SlurmLauncherConfig()))
    if signs is None:
        return launcher._check_parameters(tmp_path / name)
    with pytest.raises(UserError, match=re.escape(f"SLURM changes {signs} in the names of its logs")):
        launcher._check_parameters(tmp_path / name)


def test_several_partitions_come_with_how_to_quote_them():
    with pytest.raises(HydraException) as refusal:
        compose_sweep("slurm=gpu", "hydra.launcher.partition=a,b")
    assert (advice := re.search(r"'(hydra\.launcher\.partition=\"a,b\")'$", explain_configuration(refusal.value)))
    assert compose_sweep("slurm=gpu", advice[1])[0].hydra.launcher.partition == "a,b"


def test_names_that_are_some_pass():
    check_arguments(["+hydra.launcher.additional_parameters={a: 1}", "+slurm=gpu", "snapshot=null"])
    check_arguments(["slurm=gpu", "sweeps=table1", "slurm=null", "loss=focall", "slurm.x=y", "hydra/launcher=slurm"])
    check_arguments(["hydra/job_logging=stdout", "hydra.job.chdir=False", "hydra.output_subdir=null"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("hydra: [", "is no valid YAML"),
        ("a: 1\na: 2\n", "is no valid YAML"),
        ("- gpu\n", "must consist of `key: value`"),
        (b"name: \xff\xfe", "cannot be read"),
        (
            "a: 1 # until 17:00\nhydra:\n  launcher:\n    timeout_min: 24:00:00  # a day\n",
            "has 24:00:00, which YAML takes for a number",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_and_the_others_work(folder, content, message):
    (folder / "mine.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    register_presets()
    assert compose_config(("slurm=gpu",)) == make_config()
    check_arguments(["slurm=gpu"])
    with pytest.raises(UserError) as refusal:
        check_arguments(["slurm=mine"])
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


def test_a_whole_number_for_a_fraction_and_a_time_in_a_comment_are_fine(folder):
    content = "defaults: [gpu, _self_]\ncheckpoint_minutes: 5\n# Deadline: 17:00\n"
    (folder / "mine.yaml").write_text(f"# @package _global_\n{content}")
    register_presets()
    check_arguments(["slurm=mine"])
    check_chosen(compose_sweep("slurm=mine")[0])


@pytest.mark.slow
def test_the_command_line_may_override_a_file():
    words = ["slurm=gpu", "hydra.launcher.partition=x", "hydra.launcher.setup=[a]", "sweeps=figure8", "delta=3"]
    check_chosen(compose_sweep(*words)[0])
