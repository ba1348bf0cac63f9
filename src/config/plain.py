"""Configurations as plain dicts and lists."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from omegaconf import OmegaConf


def to_plain(value: Any, resolve: bool = True) -> Any:
    """Return a configuration, or a value of one, as plain dicts and lists, enumerations as their names.

    Args:
        resolve: whether references are replaced by what they refer to.
    """
    if OmegaConf.is_config(value):
        return OmegaConf.to_container(value, resolve=resolve, enum_to_str=True)
    return value.name if isinstance(value, Enum) else value


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested configuration as one dict, with dots between the levels of its keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
