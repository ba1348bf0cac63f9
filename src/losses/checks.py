"""Checks of the losses' arguments, and the dtype in which they compute."""

import math

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from .chunks import in_chunks

_LOGITS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Torch supports few operations on these dtypes. Viewed as signed integers, 0 and 1 stay the same, and no other value
# becomes 0 or 1.
_AS_SIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}
_UNSIGNED = (torch.bool, torch.uint8, *_AS_SIGNED)


class LogitsTooLarge(ValueError):
    """Finite logits that are too large to be ranked in float64, as those of a training that diverges may be."""


def compute_dtype(x: Tensor) -> Tensor:
    """Return the tensor in float32, or in its own dtype if that is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def check_inputs(logits: Tensor, targets: Tensor) -> Tensor:
    """Raise a TypeError or a ValueError unless logits and targets have one shape and fit together.

    Args:
        logits: floating tensor of any shape.
        targets: tensor of the same shape and device; 1 positive, 0 negative, −1 ignored.

    Returns:
        The targets, in a dtype that torch computes with.
    """
    check_shapes(logits, targets)
    return check_targets(targets)


def check_shapes(logits: Tensor, targets: Tensor) -> None:
    """Raise a TypeError or a ValueError unless logits and targets have one shape and fit by :func:`check_kinds`."""
    check_kinds(logits, targets)
    if logits.shape != targets.shape:
        is_class = targets.shape == logits.shape[:-1]
        hint = "; targets are 1, 0 or -1 for each logit, not a class for each anchor" if is_class else ""
        raise ValueError(f"logits and targets differ in shape: {tuple(logits.shape)} and {tuple(targets.shape)}{hint}")


def check_kinds(logits: Tensor, targets: Tensor) -> None:
    """Raise a TypeError or a ValueError unless logits and targets are dense tensors of fitting dtypes on one device."""
    for name, value in (("logits", logits), ("targets", targets)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor, not {type(value).__name__}")
        if value.layout != torch.strided or value.is_nested:
            kind = "a nested one" if value.is_nested else value.layout
            raise TypeError(f"{name} must be a dense tensor, not {kind}")
    if logits.dtype not in _LOGITS:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in _LOGITS)
        raise TypeError(f"logits must be a floating tensor, not {logits.dtype}: one of {names}")
    if targets.is_floating_point() and targets.dtype not in _LOGITS or targets.is_complex():
        raise TypeError(f"targets must be a tensor of integers, bools or floats, not {targets.dtype}")
    if logits.device != targets.device:
        raise ValueError(f"logits are on {logits.device}, targets on {targets.device}")


def check_targets(targets: Tensor) -> Tensor:
    """Return the targets in a dtype that torch computes with; raise a ValueError unless all are 1, 0 or −1."""
    lowest, dtype = 0 if is_unsigned(targets) else -1, targets.dtype
    targets = targets.view(signed_dtype(targets))
    if targets.dtype == torch.bool or not targets.numel():
        return targets
    whole = not targets.is_floating_point()
    for (chunk,) in in_chunks(targets.reshape(-1)):
        low, high = chunk.aminmax()
        if low >= lowest and high <= 1 and (whole or bool((chunk == chunk.round()).all())):
            continue
        wrong = chunk[~((chunk >= lowest) & (chunk <= 1) & (chunk == chunk.round()))].view(dtype)[0].item()
        hint = "; an unsigned dtype has no -1" if lowest == 0 else ""
        raise ValueError(f"targets must be 1 (positive), 0 (negative) or -1 (ignored), not {wrong:.8g}{hint}")
    return targets


def waits(x: Tensor) -> bool:
    """Return whether reading the tensor's values makes the host wait for its device."""
    return x.is_cuda


def are_valid(targets: Tensor) -> Tensor:
    """Return whether all targets are 1, 0 or −1, as a scalar on their device; reading it may wait."""
    values = targets.view(signed_dtype(targets))
    valid = (values == 0) | (values == 1)
    return (valid if is_unsigned(targets) else valid | (values == -1)).all()


def is_unsigned(targets: Tensor) -> bool:
    """Return whether the targets' dtype has no −1."""
    return targets.dtype in _UNSIGNED


def signed_dtype(targets: Tensor) -> torch.dtype:
    """Return the dtype in which :func:`check_targets` returns the targets."""
    return _AS_SIGNED.get(targets.dtype, targets.dtype)


def are_finite(logits: Tensor) -> bool:
    """Return whether all logits are known to be finite; False if checking would break the graph or wait for a GPU."""
    if torch.compiler.is_compiling() or waits(logits):
        return False
    extremes = torch.stack(logits.detach().aminmax()).tolist() if logits.numel() else []
    return all(map(math.isfinite, extremes))


def check_number(name: str, value: object) -> None:
    """Raise a TypeError unless an option is one number; NumPy's and torch's are taken too, but none with a gradient."""
    if torch.compiler.is_compiling():
        return  # numbers may be the compiler's symbols
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) or getattr(value, "ndim", None) == 0
    if not is_number or getattr(value, "requires_grad", False):
        raise TypeError(f"{name} must be a number, not {value!r}")


def check_epsilon(epsilon: float) -> None:
    """Raise a TypeError or ValueError unless ε, which is added to AP before the logarithm, is at least 0 and finite."""
    check_number("epsilon", epsilon)
    if not epsilon >= 0:
        raise ValueError(f"epsilon must be at least 0, not {epsilon}")
    if epsilon == float("inf"):
        raise ValueError("epsilon must be finite, not inf")


def check_interpolated(interpolated: bool) -> None:
    """Raise a ValueError unless `interpolated` is true or false: any text would count as true, "false" too."""
    if interpolated not in (True, False):
        raise ValueError(f"interpolated must be True or False, not {interpolated!r}")


def check_focusing(alpha: float, gamma: float) -> None:
    """Raise a TypeError or a ValueError unless α and γ of focal loss are numbers in their ranges."""
    check_number("alpha", alpha)
    check_number("gamma", gamma)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be from 0 to 1, not {alpha}")
    if not 0 <= gamma < float("inf"):
        raise ValueError(f"gamma must be at least 0 and finite, not {gamma}")


def check_ratio(negatives_per_positive: int) -> None:
    """Raise a TypeError or a ValueError unless the number of negative anchors per positive one is a whole number."""
    check_number("negatives_per_positive", negatives_per_positive)
    if isinstance(negatives_per_positive, float) or negatives_per_positive < 0:
        raise ValueError(f"negatives_per_positive must be an integer of at least 0, not {negatives_per_positive}")


def check_group(process_group: ProcessGroup | None) -> None:
    """Raise a TypeError unless the process group is None or a group that this process belongs to."""
    if process_group is not None and not isinstance(process_group, ProcessGroup):  # torch gives -100 to others
        raise TypeError(
            "process_group must be None or a ProcessGroup of torch.distributed that this process belongs to, "
            f"not {process_group!r}"
        )


def check_differentiated_once() -> None:
    """Raise a RuntimeError in a backward pass with ``create_graph=True``, to which the update would be a constant."""
    if torch.is_grad_enabled():
        raise RuntimeError("the loss has no second derivative: differentiate it without create_graph=True")


def check_float64(device: torch.device) -> None:
    """Raise a ValueError on a device that has no float64, in which the ranking losses sum."""
    if device.type == "mps":
        raise ValueError("logits are on mps, which has no float64: pass logits.cpu() and targets.cpu()")
