"""Errors that the user can fix."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """An error whose message says what is wrong and what to do; programs print it without a traceback."""


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Turn a UserError into the end of the program, with its message and exit code 1."""
    try:
        yield
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
