import pytest
import torch

from src.utils.device import choose_device, deterministic
from src.utils.errors import UserError, explain


def test_a_device_that_exists_is_taken():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda")


@pytest.mark.parametrize("name", ["", "gpu", "cuda:99", "cuda:-1", "cuda:x", "cpu:7:1", "meta", "mps:5", "0"])
def test_a_device_that_does_not_exist_is_refused_in_one_line(name):
    with pytest.raises(UserError, match=f"device={name}") as refused:
        choose_device(name)
    assert "\n" not in str(refused.value) and "use" in str(refused.value)


def test_what_is_not_deterministic_is_refused_by_name():
    x, twice = torch.zeros(3), torch.tensor([0, 0])
    with deterministic(True), pytest.raises(RuntimeError) as refused:
        x.put_(twice, torch.tensor([1.0, 2.0]))
    message = explain(refused.value)
    assert "deterministic=true" in message and "put_" in message and "\n" not in message
    assert not torch.are_deterministic_algorithms_enabled()
    x.put_(twice, torch.tensor([1.0, 2.0]))
