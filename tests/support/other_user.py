"""Calling functions as another user, one without any rights over the tests' files; only root can."""

import os
import pickle
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

USER = 65534  # nobody


def as_user(function: Callable[[], Any], *, user: int = USER, group: int = USER, umask: int = 0o022) -> Any:
    """Call a function in a fork of this process that belongs to a user and a group, and return its result.

    Raises:
        RuntimeError: with the traceback of what the function has raised.
    """
    receiving, sending = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([group])
            os.setresgid(group, group, group)
            os.setresuid(user, user, user)
            os.umask(umask)
            answer = True, function()
        except BaseException:
            answer = False, traceback.format_exc()
        with os.fdopen(sending, "wb") as stream:
            pickle.dump(answer, stream)
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving, "rb") as stream:
        succeeded, result = pickle.load(stream)
    os.waitpid(pid, 0)
    if not succeeded:
        raise RuntimeError(result)
    return result


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that every user can reach, unlike pytest's."""
    if os.geteuid():
        pytest.skip("only root may act as another user")
    folder = Path(tempfile.mkdtemp(prefix="shared-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
