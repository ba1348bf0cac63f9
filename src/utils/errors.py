"""Errors that the user can fix."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

_ADVICE = {
    errno.ENOSPC: "free some space, or choose a folder on another disk",
    errno.EDQUOT: "free some space, or choose a folder that the quota does not cover",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "choose a folder of yours, or ask its owner for access",
    errno.EPERM: "choose a folder of yours, or ask its owner for access",
    errno.EMFILE: "raise the limit with `ulimit -n`, or lower workers",
    errno.ESTALE: "the file server has lost the folder: enter it again, and give the same command again",
}
# Torch has no common class for these; their texts are those of its allocators and libraries.
_GPU_MEMORY = re.compile(r"(CUDA|HIP)( error:)? out of memory|CU(BLAS|DNN)_STATUS_ALLOC_FAILED|memory.*on the GPU")
_MEMORY = re.compile(r"can't allocate memory|not enough memory|Cannot allocate memory|std::bad_alloc")
_NOT_DETERMINISTIC = re.compile(r"(\S+) does not have a deterministic implementation")
_NO_COMPILER = re.compile(r"InvalidCxxCompiler|No working C\+\+ compiler")
_SHARED_MEMORY = re.compile(r"/torch_\d+_\d+|[Bb]us error")


class UserError(ValueError):
    """An error whose message says what is wrong and what to do; programs print it without a traceback."""


def explain(error: BaseException) -> str | None:
    """Return in one line what is wrong and what to do, for errors of the user, of files and of memory; None for others.

    This does not import torch, although some of these errors are torch's.
    """
    if isinstance(error, UserError):
        return str(error)
    text = str(error)
    if isinstance(error, RuntimeError | MemoryError):
        size = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", text)
        tried = f" (tried to allocate {size[1]})" if size else ""
        if _GPU_MEMORY.search(text):
            return f"out of memory on the GPU{tried}: lower batch_size or dataset.train_size, or use precision=bf16"
        if operation := _NOT_DETERMINISTIC.search(text):
            return (
                f"deterministic=true: torch's {operation[1]} has no deterministic implementation on this device. Take "
                "another option of the detector or the loss, another version of torch, or deterministic=false"
            )
        if _SHARED_MEMORY.search(text):
            return "the processes that load images have used up /dev/shm: lower workers, or enlarge it (--shm-size)"
        if _NO_COMPILER.search(text):
            return "compile=true needs a C++ compiler: install g++, or use compile=false"
        if isinstance(error, MemoryError) or _MEMORY.search(text):
            return (
                f"out of memory{tried}: lower workers, batch_size or dataset.train_size, or on SLURM raise "
                "hydra.launcher.mem_gb"
            )
    if isinstance(error, OSError):
        if error.errno == errno.ENOMEM:
            return f"out of memory ({text}): lower workers, or on SLURM raise hydra.launcher.mem_gb"
        place = f"{error.filename}: " if error.filename is not None else ""
        advice = f"; {_ADVICE[error.errno]}" if error.errno in _ADVICE else ""
        return f"{place}{error.strerror or text or type(error).__name__}{advice}"
    return None


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Turn an error that :func:`explain` explains into the end of the program, with the message and exit code 1."""
    try:
        yield
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        raise SystemExit(f"error: {message}") from None
