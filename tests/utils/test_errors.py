"""Errors of files and of memory in one line that says what to do."""

import errno
import json
import os

import pytest
import torch

from src.utils.errors import UserError, exit_on_user_error, explain


def error_of(work):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        work()
    return caught.value


def test_errors_of_files_name_the_file_and_say_what_to_do(tmp_path):
    (tmp_path / "file").touch()
    assert explain(error_of((tmp_path / "gone").read_text)) == f"{tmp_path / 'gone'}: No such file or directory"
    assert explain(error_of((tmp_path / "file/x").mkdir)) == f"{tmp_path / 'file/x'}: Not a directory"
    full = OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "a")
    assert explain(full) == "a: Disk quota exceeded; free some space, or choose a folder that the quota does not cover"
    assert "ulimit -n" in explain(OSError(errno.EMFILE, "Too many open files"))
    assert explain(ConnectionResetError()) == "ConnectionResetError"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has 1 GiB"),
            "2.50 GiB): lower ba",
        ),
        (
            RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"),
            "out of memory on the GPU: lower batch",
        ),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `f`"),
            "out of memory on the GPU",
        ),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "lower workers"),
        (MemoryError(), "out of memory: lower workers"),
        (RuntimeError("unable to mmap 1 bytes from file </torch_7_8_9>: Cannot allocate memory (12)"), "/dev/shm"),
        (RuntimeError("InductorError: InvalidCxxCompiler: No working C++ compiler found"), "install g++"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that"), "/dev/shm"),
    ],
    ids=range(8),
)
def test_errors_of_memory_say_what_to_lower(error, message):
    assert message in explain(error) and "\n" not in explain(error)


def test_a_tensor_that_is_too_large_for_the_machine_is_a_lack_of_memory():
    assert "out of memory" in explain(error_of(lambda: torch.empty(2**50)))


def test_other_errors_keep_their_traceback():
    assert explain(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert explain(error_of(lambda: json.loads("{"))) is None
    assert explain(RuntimeError("out of resource: shared memory, Required: 262144")) is None
    assert explain(RuntimeError("no file /home/me/envs/torch_211/lib/x.so")) is None
    with pytest.raises(ZeroDivisionError), exit_on_user_error():
        raise ZeroDivisionError


def test_a_program_ends_with_the_explanation(tmp_path):
    for error in (UserError("the reason"), OSError(errno.EROFS, "Read-only file system", "x")):
        with pytest.raises(SystemExit) as stop, exit_on_user_error():
            raise error
        assert stop.value.code == f"error: {explain(error)}"
