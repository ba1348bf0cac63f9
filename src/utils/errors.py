"""Errors that the user can mend."""


class UserError(ValueError):
    """What is wrong and what to do about it; `python -m src.run` shows the message alone, without a traceback."""
