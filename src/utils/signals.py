"""Being asked to stop: by Ctrl-C, by `kill`, by SLURM before a time limit or for a job of higher priority."""

import signal
import threading

from src.utils.errors import UserError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)  # SIGUSR2 is what submitit has SLURM send


class Interrupted(UserError):
    """The run has stopped at a checkpoint because it was asked to."""

    def __init__(self, signum: int):
        super().__init__(f"stopped by {signal.Signals(signum).name}; the same command goes on from here")
        self.signum = signum


class Interruption:
    """Notes the signals that ask to stop, so that the work can come to a good place first.

    A context in which :attr:`signum` is the last such signal, or None. A second Ctrl-C stops at once.
    """

    def __init__(self):
        self.signum: int | None = None

    def __enter__(self) -> "Interruption":
        self._before = {}
        if threading.current_thread() is threading.main_thread():  # no other may have handlers
            self._before = {signum: signal.signal(signum, self._note) for signum in SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def check(self) -> None:
        """Raises :class:`Interrupted` if there was such a signal."""
        if self.signum is not None:
            raise Interrupted(self.signum)

    def _note(self, signum: int, _) -> None:
        if signum == self.signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signum = signum


def ignore_signals(_: int) -> None:
    """For processes that load images: whoever asks the whole group to stop means the one that uses them."""
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
