import pytest
import torch

from src.utils.device import choose_device
from src.utils.errors import UserError


def test_a_device_that_exists_is_taken():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda")


@pytest.mark.parametrize("name", ["", "gpu", "cuda:99", "cuda:-1", "cuda:x", "cpu:7:1", "meta", "mps:5", "0"])
def test_a_device_that_does_not_exist_is_refused_in_one_line(name):
    with pytest.raises(UserError, match=f"device={name}") as refused:
        choose_device(name)
    assert "\n" not in str(refused.value) and "use" in str(refused.value)
