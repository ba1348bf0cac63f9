"""The look-ups by words and by intervals, against torch's own."""

import numpy as np
import pytest
import torch

from src.losses.chunks import in_chunks, nonzero
from src.losses.score_lookup import ScoreLookup


@pytest.mark.parametrize("dtype", [torch.bool, torch.int8, torch.float16, torch.int32, torch.float32, torch.int64])
def test_nonzero_equals_torchs(dtype):
    for seed, (size, density) in enumerate([(0, 0), (1, 1), (64, 0.1), (1003, 0.01), (300_000, 1e-3), (300_001, 0.5)]):
        generator = torch.Generator().manual_seed(seed)
        x = ((torch.rand(size, generator=generator) < density) * 1.0).to(dtype)
        if dtype.is_floating_point:
            x *= torch.where(torch.arange(size) % 3 == 0, -1.0, 1.0).to(dtype)  # −0 is not zero in its bits alone
        for view in (x, x[1:], x[8:], x[::2], x.flip(0)):
            assert nonzero(view).equal(view.nonzero().squeeze(1)), (size, density)


def test_nonzero_of_memory_that_is_not_aligned():
    memory = bytearray(4097)
    memory[100] = memory[2001] = 1
    x = torch.from_numpy(np.frombuffer(memory, np.int8, offset=1))
    assert x.data_ptr() % 8 and nonzero(x).tolist() == [99, 2000]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spread", ["even", "one far", "all equal", "largest"])
def test_cells_are_the_numbers_of_breakpoints_at_most_the_score(spread, dtype):
    generator = torch.Generator().manual_seed(0)
    breakpoints = torch.randn(500, generator=generator, dtype=torch.float64).sort().values
    scores = torch.cat([torch.randn(5000, generator=generator).to(dtype), breakpoints.to(dtype)])
    if spread == "one far":
        breakpoints[-1] = 1e6  # nearly all others are in one interval
    elif spread == "all equal":
        breakpoints[:] = scores[0]
    elif spread == "largest":
        breakpoints[[0, -1]] = torch.tensor([-1e100, 1e100], dtype=torch.float64)
        scores[:2] = torch.tensor([torch.finfo(dtype).min, torch.finfo(dtype).max])
    scores[-1] = -torch.inf
    expected = torch.searchsorted(breakpoints, scores.double(), right=True)
    cells = torch.empty(len(scores), dtype=torch.int32)
    for chunk, out in in_chunks(scores, cells):
        ScoreLookup(breakpoints, dtype)(chunk, out=out)
    assert cells.long().equal(expected)
