import torch

from src.losses import focal_loss


def test_focal_loss_by_hand_and_ignores():
    logits = torch.tensor([1.0, -2.0, 5.0], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([1, 0, -1]), alpha=0.25, gamma=2.0)
    p = torch.sigmoid(torch.tensor([1.0, -2.0]))
    expected = -0.25 * (1 - p[0]) ** 2 * p[0].log() - 0.75 * p[1] ** 2 * (1 - p[1]).log()
    torch.testing.assert_close(loss.detach(), expected)
    assert loss == focal_loss(logits, torch.tensor([1, 0, -1]))
    loss.backward()
    assert logits.grad[2] == 0 and logits.grad[0] < 0 < logits.grad[1]
