"""The file that a run started by hand logs to, beside its results."""

import contextlib
import logging
import sys


class RunLogFile(logging.FileHandler):
    """A file handler that leaves a file alone which cannot be written, as in a colleague's folder of outputs.

    The same is on the terminal. Whether a run may work in its folder is for the run to say.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless the file cannot be written."""
        with contextlib.suppress(PermissionError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Leave out a record that a full disk does not take; other errors are printed."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)
