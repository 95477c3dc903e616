# SPDX-License-Identifier: MIT
"""What a mask of transformers says: causal, perhaps in a window, and which rows are padded on the left."""

from __future__ import annotations

import weakref
from typing import Any, Optional

import torch


# All layers of a kind are given one mask: what it says is found out once. By window.
_known: dict[Optional[int], tuple[Any, tuple, list[int]]] = {}


def new_padding(mask: torch.Tensor, batch: int, n: int, seen: int, pads: list[int], window: Optional[int]) -> list[int]:
    """_new_padding(), remembered for the last mask."""
    key = (batch, n, seen, tuple(pads), 0 if mask.is_inference() else mask._version)
    last = _known.get(window)
    if last is not None and last[0]() is mask and last[1] == key:
        return last[2]
    found = _new_padding(mask, batch, n, seen, pads, window)
    _known[window] = weakref.ref(mask), key, found
    return found


def _new_padding(mask: torch.Tensor, batch: int, n: int, seen: int, pads: list[int], window: Optional[int]) -> list[int]:
    """How many of the n new positions of each row are padding.

    mask     bool [B or 1, 1, n, kv], the last column the newest position
    seen     positions before these
    pads     of each row so far, at most `seen`

    ValueError for a mask that is not the causal one (in a window) of rows padded on the left: codes are attended to
    as sequences, and a mask of another kind would be lost in silence.
    """
    if mask.dtype != torch.bool or mask.dim() != 4 or mask.shape[1] != 1 or mask.shape[2] != n \
            or mask.shape[0] not in (1, batch) or mask.shape[3] < n or mask.shape[3] > seen + n:
        raise ValueError(f"a mask {tuple(mask.shape)} of {mask.dtype}, for {n} queries of {batch} rows after {seen} "
                         "positions: TqCache takes transformers' own boolean masks")
    mask = mask.expand(batch, -1, -1, -1)[:, 0]
    offset = seen + n - mask.shape[2]
    real = mask[:, :, seen - offset:].diagonal(dim1=1, dim2=2).cpu()  # whether a new position sees itself
    new = [int(n if not row.any() else row.to(torch.uint8).argmax()) for row in real]
    new = [count if pads[i] == seen else 0 for i, count in enumerate(new)]
    # Where the mask is, and as many rows at a time as take no more memory than matters.
    first = torch.tensor([pad + count for pad, count in zip(pads, new)], device=mask.device)[:, None, None]
    at = torch.arange(seen, seen + n, device=mask.device)[None, :, None]
    key = torch.arange(offset, seen + n, device=mask.device)[None, None]
    some = max(1, (1 << 26) // (n * mask.shape[2]))
    good = []
    for row in range(0, batch, some):
        begin = first[row:row + some]
        expected = (key <= at) & (key >= begin)
        if window is not None:
            expected &= key > at - window
        # What a position of padding sees does not matter: nothing sees it.
        good.append(((mask[row:row + some] == expected) | (at < begin)).all())
    if not bool(torch.stack(good).all()):
        raise ValueError("the mask is not that of rows padded on the left: TqCache knows causal masks, with padding on "
                         "the left and none within or on the right")
    return new
