"""The arguments of a command line, and the files of sweeps/ and slurm/ that it chooses."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from src.config.command import is_in, key_of
from src.config.plain import flatten, to_plain
from src.utils import paths
from src.utils.errors import UserError
from src.utils.quoting import as_numbers_are_written

GROUPS = ("sweeps", "slurm")
# Hydra has others of these, which keep no records of a sweep.
OF_HYDRA = {"hydra/launcher": ("basic", "slurm"), "hydra/sweeper": ("union",)}
WITHOUT_LOG = ("disabled", "none")  # of hydra/job_logging
# With their values in conf/, which may be given.
FOLDERS_OF_HYDRA = {"hydra.run.dir": ".", "hydra.sweep.dir": ".", "hydra.sweep.subdir": "."}
FOLDERS_OF_HYDRA |= {"hydra.job.chdir": "false", "hydra.output_subdir": "null"}
OPTIONS_OF_SBATCH = "sbatch's other options are given as +hydra.launcher.additional_parameters.OPTION=VALUE"


def register_presets() -> None:
    """Register sweeps/ and slurm/ as groups of Hydra's configuration, except files that cannot be read.

    Hydra's search path is not used for this: with the project's folder in it, each of its folders would be a group,
    including `outputs`, and `outputs=DIR` would choose a file in it.
    """
    for group in GROUPS:
        for file in _files(group):
            node = _read(file)
            if isinstance(node, DictConfig):
                ConfigStore.instance().store(group=group, name=file.stem, node=node, package="_global_")


def check_arguments(arguments: Iterable[str]) -> None:
    """Raise a UserError if a command line adds or removes a key, or chooses a missing or unusable file.

    Args:
        arguments: of a program that composes a configuration.
    """
    chosen: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        group, name = key.lstrip("+~"), value.strip("\"' ")
        if key != group and group not in GROUPS and not group.startswith(("hydra.", "hydra/")):
            # Hydra would accept the key, and nothing would read it.
            raise UserError(f"{argument}: no key can be added or removed{similar_key(group)}")
        if group in OF_HYDRA and name not in OF_HYDRA[group]:
            instead = "; slurm=gpu sends a sweep to SLURM" if group == "hydra/launcher" else ""
            raise UserError(f"{argument}: runs need {group}={' or '.join(OF_HYDRA[group])}{instead}")
        if group == "hydra/job_logging" and name in WITHOUT_LOG:
            raise UserError(f"{argument}: runs need a log")
        if group in FOLDERS_OF_HYDRA and name.lower() != FOLDERS_OF_HYDRA[group]:
            raise UserError(f"{argument}: choose the folder with outputs=DIR; each run's results go to DIR/<run id>/")
        if not group and equals:
            raise UserError(f"{argument}: options are KEY=VALUE, without spaces around =")
        is_no_name = name == "null" or name.startswith("[") or any(map(as_numbers_are_written, name.split(",")))
        if equals and is_no_name and group not in GROUPS and (paths.CONF / group).is_dir():
            files_of_group = sorted(file.stem for file in (paths.CONF / group).glob("*.yaml"))
            raise UserError(f"{argument}: choose one of {', '.join(files_of_group)}")
        if group not in GROUPS or name == "null":
            continue
        files = {file.stem: file for file in _files(group)}
        if "," in name or chosen.setdefault(group, argument) != argument:
            raise UserError(f"{argument}: choose one file of {group}/ at a time")
        if name not in files:
            meant = get_close_matches(name.lower(), files, 1)
            hint = f"; do you mean {group}={meant[0]}?" if meant else "."
            raise UserError(f"{argument}: there is no {group}/{name}.yaml{hint} There are {', '.join(files)}")
        problem = _read(files[name])
        if isinstance(problem, str):
            raise UserError(f"{argument}: {files[name]} {problem}")


def similar_key(name: str, *, is_missing: bool = False) -> str:
    """Return a hint at the choice that has a key that does not exist, or at the keys that may have been meant.

    Args:
        is_missing: whether the program has no such key; another program may have it.
    """
    if name.startswith("hydra.launcher."):
        return f"; --cfg hydra lists those that exist, and {OPTIONS_OF_SBATCH}"
    if name.startswith("hydra."):
        return "; --cfg hydra lists those that exist"
    keys: dict[str, list[str]] = {}
    files, having = 0, []
    for file in sorted(paths.CONF.rglob("*.yaml")):
        group = file.parent.relative_to(paths.CONF).as_posix()
        prefix = "" if group in (".", "recipe") else f"{group}."
        files += group == name.partition(".")[0]
        for key in _keys_in(file):
            if prefix and prefix + key == name:
                having.append(f"{group}={file.stem}")
            if not key.startswith(("defaults", "hydra.")):
                keys.setdefault(key.rpartition(".")[2], []).append(f"{prefix}{key}")
    if 0 < len(having) < files:
        return f"; only {', '.join(having)} {'has' if len(having) == 1 else 'have'} it"
    meant = get_close_matches(name.rpartition(".")[2], keys, 2, 0.75)
    found = dict.fromkeys(key for word in meant for key in keys[word] if not is_missing or key != name)
    return f"; do you mean {' or '.join(found)}?" if found else "; --cfg job shows those that there are"


def _keys_in(file: Path) -> list[str]:
    """Return the keys in a file of conf/, each once, with those of the files of its group that it is based on."""
    content = to_plain(OmegaConf.load(file), resolve=False)
    bases = [file.parent / f"{entry}.yaml" for entry in content.get("defaults", [])]
    keys = [key for base in bases if base.is_file() for key in _keys_in(base)]
    return list(dict.fromkeys([*keys, *flatten(content)]))


def check_chosen(master: DictConfig) -> None:
    """Raise a UserError if the chosen files of sweeps/ and slurm/ do not take effect as written.

    Args:
        master: a configuration composed with them, with Hydra's part.
    """
    choices = master.hydra.runtime.choices
    if choices.get("slurm") and choices["hydra/launcher"] == "basic":
        raise UserError(
            f"slurm={choices.slurm}: slurm/{choices.slurm}.yaml does not choose the launcher, so that the sweep would "
            "run here. It must begin with defaults: [override /hydra/launcher: slurm]"
        )
    overridden = [key_of(word) for words in master.hydra.overrides.values() for word in words]
    composed = flatten(to_plain(master, resolve=False))
    for group in GROUPS:
        if not choices.get(group):
            continue
        (file,) = (file for file in _files(group) if file.stem == choices[group])
        content = to_plain(OmegaConf.load(file), resolve=False)
        for key, value in flatten(content).items():
            if key == "defaults" or is_in(key, overridden):
                continue
            if composed.get(key) != value and str(composed.get(key)) != str(value):
                raise UserError(
                    f"{group}={file.stem}: {file} has {key}={value}, but the result is {composed.get(key)}. In its "
                    "`defaults`, _self_ must come last"
                )


def _files(group: str) -> list[Path]:
    return sorted((paths.SWEEPS if group == "sweeps" else paths.SLURM).glob("*.yaml"))


def _read(file: Path) -> DictConfig | str:
    """Return the content of a preset, or why it cannot be used."""
    try:
        node = OmegaConf.load(file)
    except (YAMLError, OmegaConfBaseException) as error:
        return f"is no valid YAML: {' '.join(str(error).split())}"
    except (OSError, UnicodeError) as error:
        return f"cannot be read: {error}"
    # YAML 1.1 reads 24:00:00 as a base-60 number.
    text = re.sub(r"(^|\s)#.*", r"\1", file.read_text(), flags=re.MULTILINE)
    time = re.search(r":\s+([1-9]\d*(:[0-5]?\d)+)\s*([,}\n]|$)", text)
    if time:
        return f"has {time[1]}, which YAML takes for a number: put it in quotes; timeout_min is a number of minutes"
    if not isinstance(node, DictConfig):
        return "must consist of `key: value`"
    return node if node else "is empty"
