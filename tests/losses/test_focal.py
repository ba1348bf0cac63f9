import torch

from src.losses import checks, focal, focal_loss


def test_focal_loss_by_hand_and_ignores():
    logits = torch.tensor([1.0, -2.0, 5.0], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([1, 0, -1]), alpha=0.25, gamma=2.0)
    p = torch.sigmoid(torch.tensor([1.0, -2.0]))
    expected = -0.25 * (1 - p[0]) ** 2 * p[0].log() - 0.75 * p[1] ** 2 * (1 - p[1]).log()
    torch.testing.assert_close(loss.detach(), expected)
    loss.backward()
    assert logits.grad[2] == 0 and logits.grad[0] < 0 < logits.grad[1]


def test_on_a_gpu_values_and_gradients_are_the_same_but_wrong_targets_make_them_nan(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.int8, torch.uint8, torch.bool, torch.float32):
        targets = (torch.rand(5, 40, generator=generator) < 0.1).to(dtype)
        logits = torch.randn(5, 40, generator=generator)
        for bad in (None, float("nan"), float("-inf")):
            if bad is not None:
                logits[0, 0] = bad
            outcomes = []
            for is_gpu in (False, True):
                with monkeypatch.context() as patched:
                    patched.setattr(focal, "waits", lambda x, is_gpu=is_gpu: is_gpu)
                    patched.setattr(checks, "waits", lambda x, is_gpu=is_gpu: is_gpu)
                    x = logits.clone().requires_grad_()
                    loss = focal_loss(x, targets)
                    loss.backward()
                    outcomes.append((loss.detach(), x.grad))
            torch.testing.assert_close(*outcomes, equal_nan=True)
    monkeypatch.setattr(focal, "waits", lambda x: True)
    for wrong in (torch.tensor([2, 0]), torch.tensor([255, 0], dtype=torch.uint8), torch.tensor([0.5, 0])):
        assert focal_loss(torch.zeros(2), wrong).isnan()
