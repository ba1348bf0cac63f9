"""Losses for one-stage detectors: pure functions of (logits, targets)."""

from src.losses.ap import ap_loss
from src.losses.approximate_gradient import ap_approximate_gradient_loss
from src.losses.auc import auc_loss
from src.losses.error_driven import error_driven
from src.losses.focal import focal_loss
from src.losses.ohem import ohem_loss, softmax_scores
from src.losses.steps import STEPS, step_function
from src.losses.structured_hinge import ap_structured_hinge_loss

__all__ = [
    "STEPS", "ap_approximate_gradient_loss", "ap_loss", "ap_structured_hinge_loss", "auc_loss", "error_driven",
    "focal_loss", "ohem_loss", "softmax_scores", "step_function",
]  # fmt: skip
