"""The losses as modules, which hold the options that the functions take."""

from torch import Tensor, nn
from torch.distributed import ProcessGroup

from .ap import ap_loss
from .approximate_gradient import ap_approximate_gradient_loss
from .auc import auc_loss
from .checks import check_epsilon, check_focusing, check_group, check_interpolated, check_ratio
from .focal import focal_loss
from .ohem import ohem_loss
from .step_functions import check_step
from .structured_hinge import ap_structured_hinge_loss


class APLoss(nn.Module):
    """:func:`ap_loss` as a module, with the same options; a wrong one raises an error at once."""

    def __init__(
        self,
        delta: float = 1.0,
        interpolated: bool = True,
        step: str = "piecewise",
        process_group: ProcessGroup | None = None,
    ):
        super().__init__()
        check_group(process_group)
        check_step(step, delta)
        check_interpolated(interpolated)
        self.delta, self.interpolated, self.step, self.process_group = delta, interpolated, step, process_group

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar loss of logits and targets of one shape."""
        return ap_loss(
            logits,
            targets,
            delta=self.delta,
            interpolated=self.interpolated,
            step=self.step,
            process_group=self.process_group,
        )

    def extra_repr(self) -> str:
        """Return the options, as the constructor takes them."""
        return f"delta={self.delta}, interpolated={self.interpolated}, step={self.step!r}{_group(self)}"


class AUCLoss(nn.Module):
    """:func:`auc_loss` as a module, with the same options; a wrong one raises an error at once."""

    def __init__(self, delta: float = 1.0, step: str = "piecewise", process_group: ProcessGroup | None = None):
        super().__init__()
        check_group(process_group)
        check_step(step, delta)
        self.delta, self.step, self.process_group = delta, step, process_group

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar loss of logits and targets of one shape."""
        return auc_loss(logits, targets, delta=self.delta, step=self.step, process_group=self.process_group)

    def extra_repr(self) -> str:
        """Return the options, as the constructor takes them."""
        return f"delta={self.delta}, step={self.step!r}{_group(self)}"


class APApproximateGradientLoss(nn.Module):
    """The loss of :func:`ap_approximate_gradient_loss` as a module; a wrong option raises an error at once."""

    def __init__(self, delta: float = 1.0, epsilon: float = 1e-6, process_group: ProcessGroup | None = None):
        super().__init__()
        check_group(process_group)
        check_epsilon(epsilon)
        check_step("sigmoid", delta)
        self.delta, self.epsilon, self.process_group = delta, epsilon, process_group

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar loss of logits and targets of one shape."""
        return ap_approximate_gradient_loss(
            logits, targets, delta=self.delta, epsilon=self.epsilon, process_group=self.process_group
        )

    def extra_repr(self) -> str:
        """Return the options, as the constructor takes them."""
        return f"delta={self.delta}, epsilon={self.epsilon}{_group(self)}"


class APStructuredHingeLoss(nn.Module):
    """:func:`ap_structured_hinge_loss` as a module; a wrong process_group raises an error at once."""

    def __init__(self, process_group: ProcessGroup | None = None):
        super().__init__()
        check_group(process_group)
        self.process_group = process_group

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar loss of logits and targets of one shape."""
        return ap_structured_hinge_loss(logits, targets, process_group=self.process_group)

    def extra_repr(self) -> str:
        """Return the options, as the constructor takes them."""
        return _group(self).removeprefix(", ")


class FocalLoss(nn.Module):
    """:func:`focal_loss` as a module, with the same options; a wrong one raises an error at once."""

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0, process_group: ProcessGroup | None = None):
        super().__init__()
        check_group(process_group)
        check_focusing(alpha, gamma)
        self.alpha, self.gamma, self.process_group = alpha, gamma, process_group

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar loss of logits and targets of one shape."""
        return focal_loss(logits, targets, alpha=self.alpha, gamma=self.gamma, process_group=self.process_group)

    def extra_repr(self) -> str:
        """Return the options, as the constructor takes them."""
        return f"alpha={self.alpha}, gamma={self.gamma}{_group(self)}"


class OHEMLoss(nn.Module):
    """:func:`ohem_loss` as a module, with the same options; a wrong one raises an error at once."""

    def __init__(self, negatives_per_positive: int = 3, process_group: ProcessGroup | None = None):
        super().__init__()
        check_group(process_group)
        check_ratio(negatives_per_positive)
        self.negatives_per_positive, self.process_group = negatives_per_positive, process_group

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar loss of logits [B, A, K + 1] and targets [B, A, K]."""
        return ohem_loss(
            logits, targets, negatives_per_positive=self.negatives_per_positive, process_group=self.process_group
        )

    def extra_repr(self) -> str:
        """Return the options, as the constructor takes them."""
        return f"negatives_per_positive={self.negatives_per_positive}{_group(self)}"


def _group(module: nn.Module) -> str:
    return "" if module.process_group is None else f", process_group={module.process_group}"
