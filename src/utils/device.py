"""Choosing the device that a run trains on."""

import torch

from src.utils.errors import UserError


def choose_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is this process's GPU if there is one, else the CPU.

    Raises:
        UserError: the name is a GPU's, but torch finds none.
    """
    if name == "auto":
        name = f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device={name}, but torch finds no GPU here; use device=auto or device=cpu")
    return device
