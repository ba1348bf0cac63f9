"""Signals to stop: from Ctrl-C, `kill`, or SLURM before a time limit or a preemption."""

import signal
import threading
from types import FrameType
from typing import Any

from src.utils.errors import UserError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)  # submitit makes SLURM send SIGUSR2


class Interrupted(UserError):
    """The run has stopped, at a checkpoint if possible, and resumes when its command is given again.

    Args:
        signum: of the signal to stop.
        reason: what has stopped the run, if not a signal.
    """

    def __init__(self, signum: int, reason: str | None = None):
        reason = reason or f"stopped by {signal.Signals(signum).name}"
        super().__init__(f"{reason}; run the same command again to resume")
        self.signum = signum


class Interruption:
    """A context that notes signals to stop, so that a checkpoint can be saved first.

    In it, :attr:`signum` is the last such signal, or None. A second Ctrl-C stops at once.
    """

    def __init__(self) -> None:
        self.signum: int | None = None

    def __enter__(self) -> "Interruption":
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():  # no other thread may set handlers
            self._before = {signum: signal.signal(signum, self._note) for signum in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def check(self) -> None:
        """Raise :class:`Interrupted` if a signal to stop has arrived."""
        if self.signum is not None:
            raise Interrupted(self.signum)

    def _note(self, signum: int, _: FrameType | None) -> None:
        if signum == self.signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signum = signum


def ignore_signals(_: int) -> None:
    """Ignore signals to stop in an image-loading process: the training process gets them too, and ends it."""
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
