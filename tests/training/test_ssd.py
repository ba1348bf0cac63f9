"""SSD as experiments train it, in small."""

import pytest

import src.inspect
from src.config.validate import resolve
from src.training.optimizer import learning_rate_factor
from tests.support.configurations import make_config
from tests.support.runs import NOT_LOGGED, run_here, summary_of, weights


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["ohem", "ap"])
def test_ssd_trains_and_is_tested(loss, tiny):
    directory = run_here(*tiny, "model=ssd", f"loss={loss}", *NOT_LOGGED)
    state = weights(directory)
    assert all(value.isfinite().all() for value in state.values())
    outputs = 10 + (loss == "ohem")
    # At 64 pixels there are four maps, with 4, 6, 6 and 6 boxes in a cell.
    heads = {key: len(value) for key, value in state.items() if key.startswith("classification") and "bias" in key}
    assert list(heads.values()) == [boxes * outputs for boxes in (4, 6, 6, 6)]
    assert {"AP", "AP@200"} <= summary_of(directory)["metrics"].keys()


@pytest.mark.slow
def test_the_data_are_inspected_as_ssd_sees_them(tiny_data, tmp_path, capsys):
    words = ["recipe=folder", "model=ssd", f"dataset.root={tiny_data}", f"outputs={tmp_path}", "workers=0"]
    src.inspect.inspect(resolve(make_config(*words), words))
    printed = capsys.readouterr().out
    assert "have an anchor of IoU ≥ 0.5" in printed and (tmp_path / "inspect" / "tiny.png").exists()


def test_warm_up_starts_where_the_divisor_says():
    def factor(step):
        return learning_rate_factor(step, 10_000, warmup_iterations=500, decay_at=[0.9], warmup_divisor=1000)

    assert [factor(step) for step in (0, 250, 500, 8999, 9000)] == pytest.approx([0.001, 0.5005, 1, 1, 0.1])
