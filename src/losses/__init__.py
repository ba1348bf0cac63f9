"""Losses for one-stage detectors: pure functions of (logits, targets)."""

from src.losses.ap import ap_loss
from src.losses.auc import auc_loss
from src.losses.focal import focal_loss

__all__ = ["ap_loss", "auc_loss", "focal_loss"]
