import pytest
import torch

from src.utils.memory import peak, reset_peak

CPU, MIB = torch.device("cpu"), 2**20


@pytest.mark.slow
def test_a_peak_is_that_since_the_last_reset():
    before = reset_peak(CPU)
    if before is None:
        pytest.skip("this system does not report peaks")
    torch.ones(256 * MIB // 4)  # freed at once
    assert peak(CPU) - before > 250 * MIB
    again = reset_peak(CPU)
    torch.ones(32 * MIB // 4)
    assert 30 * MIB < peak(CPU) - again < 100 * MIB


def test_other_devices_report_no_peak():
    assert reset_peak(torch.device("meta")) is None
