"""Process millions of scores in chunks."""

import torch
from torch import Tensor

# Torch's operations on up to 2¹⁵ elements of a CPU tensor stay on the calling thread, and in its cache. More threads
# would gain little, and wait for each other after each operation: beside a busy process that costs many times the work.
# Other devices are fastest on few large kernels.
_CHUNK_ON_CPU, _CHUNK_ELSEWHERE = 2**15, 2**25


def in_chunks(*tensors: Tensor, times: int = 1) -> list[tuple[Tensor, ...]]:
    """Return views of tensors [N], all cut into chunks that suit their device; on a CPU `times` as large."""
    size = times * _CHUNK_ON_CPU if tensors[0].is_cpu else _CHUNK_ELSEWHERE
    return list(zip(*(tensor.split(size) for tensor in tensors), strict=True))


def nonzero(x: Tensor) -> Tensor:
    """Return the indices of the nonzero entries of x [n], int64; fast if there are few."""
    per_word = 8 // x.element_size() if x.element_size() <= 2 else 1
    return _joined([_nonzero_of_words(chunk, per_word) for (chunk,) in in_chunks(x, times=per_word)], x, per_word)


def indices_from(x: Tensor, bound: Tensor) -> Tensor:
    """Return the indices of the entries of x [n] that are at least the bound, a scalar; int64."""
    return _joined([(chunk >= bound).nonzero().squeeze(1) for (chunk,) in in_chunks(x)], x, times=1)


def _joined(indices: list[Tensor], x: Tensor, times: int) -> Tensor:
    """Return indices in each of the chunks of x as indices in x."""
    begin = 0
    for index, (chunk,) in zip(indices, in_chunks(x, times=times), strict=True):
        index += begin
        begin += len(chunk)
    return torch.cat(indices)


def _nonzero_of_words(x: Tensor, per_word: int) -> Tensor:
    is_aligned = x.storage_offset() % per_word == len(x) % per_word == x.data_ptr() % 8 == 0
    if not (x.is_cpu and x.stride(0) == 1 and is_aligned) or per_word == 1:
        return x.nonzero().squeeze(1)
    # Eight bytes at a time, as an int64, which is zero where all of its entries are.
    words = x.view(torch.int64).nonzero()
    index = (words * per_word + torch.arange(per_word, device=x.device)).view(-1)
    # Not index[…], which starts threads if more than a few are left.
    return index.index_select(0, x.index_select(0, index).nonzero().squeeze(1))
