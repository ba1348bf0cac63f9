"""Chunks in which millions of scores are treated."""

import torch
from torch import Tensor

# Torch's operations on up to 2¹⁵ elements of a CPU tensor stay on the calling thread, and in its cache. More threads
# would gain little, and wait for each other after each operation: beside a busy process that costs many times the work.
# Other devices are fastest on few large kernels.
_CHUNK_ON_CPU, _CHUNK_ELSEWHERE = 2**15, 2**25


def in_chunks(*tensors: Tensor, times: int = 1) -> list[tuple[Tensor, ...]]:
    """Return views of tensors [N], cut alike into chunks that suit their device; on a CPU so many times larger."""
    size = times * _CHUNK_ON_CPU if tensors[0].is_cpu else _CHUNK_ELSEWHERE
    return list(zip(*(tensor.split(size) for tensor in tensors), strict=True))


def indices(masks: list[Tensor]) -> Tensor:
    """Return the indices of what is not zero in chunks that follow each other, int64."""
    begins = [0]
    for mask in masks:
        begins.append(begins[-1] + len(mask))
    return torch.cat([mask.nonzero().squeeze(1) + begin for mask, begin in zip(masks, begins, strict=False)])
