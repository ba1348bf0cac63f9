import importlib
import inspect
from dataclasses import fields

import pytest
from omegaconf import OmegaConf

from src.config.registry import ATTACKS, DETECTORS, LOSSES, METHODS, objective_of
from src.config.schema import Model
from src.config.validate import resolve
from src.utils import paths
from tests.support.configurations import make_config


@pytest.mark.parametrize(
    ("group", "entries"), [("loss", LOSSES), ("method", METHODS), ("model", DETECTORS), ("attack", ATTACKS)]
)
def test_each_entry_has_a_file_of_its_name_in_conf_and_no_file_is_without_entry(group, entries):
    files = {file.stem: OmegaConf.load(file) for file in (paths.CONF / group).glob("*.yaml")}
    variants = {name for name, content in files.items() if content.get("defaults", [None])[0] in entries}
    assert files.keys() - variants == entries.keys()
    assert all(content.name == name for name, content in files.items() if name not in variants)


def test_an_attacks_file_gives_each_of_its_options_a_value_and_its_function_takes_them():
    for name, entry in ATTACKS.items():
        content = OmegaConf.load(paths.CONF / "attack" / f"{name}.yaml")
        assert content.keys() - {"name", "defaults"} == entry.own_options.keys()
        if entry.perturbation is not None:
            module, _, function = entry.perturbation.rpartition(".")
            parameters = inspect.signature(getattr(importlib.import_module(module), function)).parameters
            assert parameters.keys() - {"image", "boxes", "generator", "patch"} <= entry.own_options.keys()


@pytest.mark.parametrize("group", ["loss", "method"])
@pytest.mark.slow
def test_a_file_gives_each_option_of_its_entry_a_value(group):
    entries = {"loss": LOSSES, "method": METHODS}[group]
    for name, entry in entries.items():
        options = entry.objective.own_options if entry.objective else {}
        assert OmegaConf.load(paths.CONF / group / f"{name}.yaml").keys() - {"name", "defaults"} == options.keys()
        chosen = resolve(make_config(f"{group}={name}"))[group]
        assert all(isinstance(chosen[option], kind) for option, kind in options.items())


def test_a_detectors_file_gives_each_of_its_options_and_of_every_detectors_a_value():
    common = {option.name for option in fields(Model)}
    for name, entry in DETECTORS.items():
        content = OmegaConf.load(paths.CONF / "model" / f"{name}.yaml")
        assert content.keys() - {"defaults"} == common | entry.own_options.keys()


def test_every_loss_and_method_names_a_function():
    losses = importlib.import_module("src.losses")
    for loss in (name for name, entry in LOSSES.items() if entry.trains):
        for method in METHODS:
            assert callable(getattr(losses, objective_of(loss, method).function))


def test_every_detector_can_be_imported():
    for detector in DETECTORS.values():
        module, _, name = detector.builder.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))
