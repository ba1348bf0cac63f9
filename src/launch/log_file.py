"""The log file of a run that was not started by SLURM, beside its results."""

import contextlib
import logging
import sys


class RunLogFile(logging.FileHandler):
    """A file handler that ignores a file which cannot be written, as in a colleague's folder or on a full disk.

    The terminal shows the same. Whether a run may work in its folder is checked by the run.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless the file cannot be written."""
        with contextlib.suppress(OSError):  # of opening the file; others go to `handleError`
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Drop a record that cannot be written, as on a full disk; print other errors."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)
