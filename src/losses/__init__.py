"""Losses for one-stage detectors: pure functions of (logits, targets), and a module for each.

This folder needs only torch and torchvision. It can be installed on its own, as `aploss`, or copied into another
project under any name.
"""

from .ap import ap_loss
from .approximate_gradient import ap_approximate_gradient_loss
from .auc import auc_loss
from .checks import LogitsTooLarge
from .error_driven import error_driven
from .focal import focal_loss
from .modules import APApproximateGradientLoss, APLoss, APStructuredHingeLoss, AUCLoss, FocalLoss, OHEMLoss
from .ohem import ohem_loss, softmax_scores
from .step_functions import STEPS, step_function
from .structured_hinge import ap_structured_hinge_loss

__all__ = [
    "STEPS",
    "APApproximateGradientLoss",
    "APLoss",
    "APStructuredHingeLoss",
    "AUCLoss",
    "FocalLoss",
    "LogitsTooLarge",
    "OHEMLoss",
    "ap_approximate_gradient_loss",
    "ap_loss",
    "ap_structured_hinge_loss",
    "auc_loss",
    "error_driven",
    "focal_loss",
    "ohem_loss",
    "softmax_scores",
    "step_function",
]
