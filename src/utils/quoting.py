"""Overrides of the configuration as they are printed for people to paste: quoted for Hydra, and for a shell."""

import re
import shlex
from typing import Any

import yaml


def override(key: str, value: str) -> str:
    """Return the override that gives a key this text, as a shell takes it."""
    return shell_quoted(f"{key}={hydra_quoted(value)}")


def shell_quoted(word: str) -> str:
    """Quote an override for a shell; Hydra's single quotes become double ones where possible."""
    key, equals, value = word.partition("=")
    inner = re.fullmatch(r"'([^'\"\\]*)'", value)
    return shlex.quote(f'{key}{equals}"{inner[1]}"' if inner else word)


def hydra_quoted(value: str) -> str:
    """Quote a text value for Hydra, unless it needs no quotes."""
    is_plain = re.fullmatch(r"[\w./@:+%-]+", value, re.ASCII)
    if is_plain and value.lower() != "null" and not as_numbers_are_written(value):
        return value
    # Hydra takes a backslash for an escape only where a quote follows.
    escaped = re.sub(r'(\\*)("|\Z)', lambda match: 2 * match[1] + match[2].replace('"', '\\"'), value)
    return f'"{escaped}"'


def as_numbers_are_written(word: str) -> set[str]:
    """Return a word as Python writes it, if Hydra or YAML take it for a number or a truth value."""
    readings: list[Any] = [{"true": True, "false": False}.get(word.lower())]
    for read in (int, float, yaml.safe_load):
        try:
            readings.append(read(word))
        except (ValueError, yaml.YAMLError):
            continue
    return {str(reading) for reading in readings if isinstance(reading, bool | int | float)}
