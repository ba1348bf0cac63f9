"""The private parts of Hydra that src/launch uses are as they were in the version for which it was written."""

import importlib.metadata
import inspect
import re

import omegaconf.base
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from omegaconf import OmegaConf
from omegaconf.grammar_parser import parse

from src.launch import compose  # noqa: F401  # which keeps the trees
from src.launch.plugin import MODULE
from src.utils import paths

VERSION = "1.3.8"
ADVICE = (
    f"src/launch was written for hydra-core {VERSION}. Read what has changed there, adapt src/launch/compose.py, "
    "plugin.py and sweeper.py, and then this file and constraints.txt"
)


def test_the_pinned_version_is_the_one_checked_here():
    (pinned,) = re.findall(r"^hydra-core==(\S+)", (paths.ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned == VERSION, ADVICE


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (ConfigLoaderImpl._apply_overrides_to_config, ["overrides", "cfg"]),
        (BasicSweeper.split_arguments, ["overrides", "max_batch_size"]),
        (Plugins.register, ["self", "clazz"]),
        (Plugins.instantiate_launcher, ["self", "hydra_context", "task_function", "config"]),
    ],
)
def test_private_functions_have_the_expected_parameters(function, parameters):
    installed = importlib.metadata.version("hydra-core")
    assert list(inspect.signature(function).parameters) == parameters, f"hydra-core {installed}: {ADVICE}"


def test_omegaconf_reads_a_reference_the_same_from_a_kept_tree():
    texts = ["${a}", "${.a}/x", "${f:{b: 0.5, c: ${a}},[1, two]}", "\\${a}"]
    for text in texts:
        config = OmegaConf.create({"a": 3, "text": text})
        OmegaConf.register_new_resolver("f", lambda *arguments: str(arguments), replace=True)
        first, second = config.text, config.text
        config.a = 4
        assert first == second and (config.text == first) == ("a}" not in text or text.startswith("\\"))
    assert omegaconf.base.parse.cache_info().hits > 0 and omegaconf.base.parse.__wrapped__ is parse, ADVICE


def test_a_job_keeps_its_error_as_return_value():
    assert "_return_value" in JobReturn.__dataclass_fields__, ADVICE


def test_hydra_accepts_plugins_from_our_module():
    assert Plugins.is_in_toplevel_plugins_module(f"{MODULE}.UnionSweeper"), ADVICE
