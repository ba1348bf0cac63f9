"""The command line that makes a run, as it is logged with the run and printed for people to paste."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from src.utils.errors import UserError
from src.utils.quoting import as_numbers_are_written, shell_quoted

# An order in which commands are easy to compare: recipe and data come first, the seed last.
_FIRST, _LAST = ("recipe", "dataset", "model", "schedule", "loss", "method"), ("seed",)


def command_line(module: str, words: Iterable[str], options: Iterable[str] = (), processes: int = 1) -> str:
    """Return the command `python -m MODULE OPTIONS WORDS`, quoted for a shell.

    Args:
        words: overrides of the configuration, quoted for Hydra.
        processes: with several, the command is torchrun's.
    """
    python = "python" if processes == 1 else f"torchrun --nproc-per-node {processes}"
    return " ".join([python, "-m", module, *options, *(shell_quoted(word) for word in words)])


def key_of(override: str) -> str:
    """Return the key that an override sets, adds or removes."""
    return override.partition("=")[0].lstrip("+~")


def is_in(key: str, names: Iterable[str]) -> bool:
    """Return whether a key, with dots between its levels, is one of these names, or in a group that is one of them."""
    return any(f"{key}.".startswith(f"{name}.") for name in names)


def canonical_words(overrides: Iterable[str], left_out: Collection[str]) -> list[str]:
    """Return the overrides that make a run, in a fixed order; of several for one key, the last.

    Args:
        overrides: of a command line or a sweep, one value each.
        left_out: keys, or groups of keys, that do not matter.
    """
    words: dict[str, str] = {}
    for override in overrides:
        key = override.partition("=")[0]
        if not is_in(key_of(override), left_out):
            words.pop(key, None)
            words[key] = override
    return [words[key] for key in sorted(words, key=_place)]


def _place(key: str) -> tuple[int, str]:
    group = key.partition(".")[0]
    if group in _FIRST:
        return _FIRST.index(group), key
    return len(_FIRST) + (key in _LAST), key


def refuse_rewritten(plain: Mapping[str, Any], overrides: Iterable[str]) -> None:
    """Raise a UserError if unquoted text was read as a number, so that its spelling changed.

    `outputs=2024_01_15` would become the folder 20240115.

    Args:
        plain: the configuration that the overrides have led to.
    """
    for override in overrides:
        key, _, text = override.partition("=")
        value: Any = plain
        for part in key.lstrip("+").split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        words, kept = ([text], [value]) if isinstance(value, str) else (text.strip("[]").split(","), value)
        if isinstance(kept, list) and len(words) == len(kept):
            for word, one in zip(map(str.strip, words), kept, strict=True):
                if isinstance(one, str) and word != one and one in as_numbers_are_written(word):
                    raise UserError(f"{key}={text}: {word} is read as {one}; quote it to keep the text: \"'{word}'\"")
