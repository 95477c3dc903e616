# SPDX-License-Identifier: MIT
"""Layers of a TqCache: a libtqkv Cache for each row of the batch."""

from __future__ import annotations

from typing import Any, Optional

import torch
from transformers.cache_utils import CacheLayerMixin

from ..cache import DEFAULT, Cache, attend_batch
from .held import Held
from .mask import new_padding

_NUMPY = {torch.float32, torch.float16}


ANEW = "reset() it, or make a new one, to begin anew"


def _array(x: torch.Tensor) -> Any:
    """x for a call, where it lies: as NumPy's, which takes less time than DLPack, if NumPy has the type."""
    return x.numpy() if x.dtype in _NUMPY else x


class TqLayer(CacheLayerMixin):
    """A layer of full attention.

    kind       what Cache takes: "default", "tq4", "tq6/tq4+centre+recent+sinks", "f16" ...
    capacity   positions of a row

    TqkvError: FORMAT for a kind that is none, POSITION for a capacity of 0 or too small for the kind.
    """

    is_croppable = True
    is_sliding = False
    supports_early_init = True
    window: Optional[int] = None
    chunk: Optional[int] = None  # most positions that may be appended before they attend

    def __init__(self, kind: str = "default", capacity: int = 131072) -> None:
        super().__init__()
        self.kind, self.capacity = kind, capacity
        self._forget()
        self.check(1, 256, 256)  # a head_dim that all formats serve

    def check(self, heads: int, k_dim: int, v_dim: int) -> None:
        """Whether rows can be of so many heads and dimensions: TqkvError if not, HEAD_DIM among others."""
        self._new_row(heads, k_dim, v_dim)

    def _forget(self) -> None:
        self.rows: list[Cache] = []
        self.pads: list[int] = []
        self.seen = 0
        self._pending: Optional[tuple[torch.Tensor, torch.Tensor]] = None
        self._shared: list[int] = []  # padding of the last step, for layers that share its keys
        self.is_initialized = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.kind!r}, {self.seen} positions, {self.nbytes} bytes)"

    @property
    def batch_size(self) -> int:
        """Rows; -1 before the first step."""
        return len(self.pads) if self.is_initialized else -1

    @property
    def nbytes(self) -> int:
        """Bytes that the rows hold."""
        return sum(row.nbytes for row in self.rows)

    @property
    def nbytes_used(self) -> int:
        """Bytes of the positions that are there, without room for more."""
        return sum(row.bytes["used"] + row.bytes["centre"] for row in self.rows)

    def _new_row(self, heads: int, k_dim: int, v_dim: int) -> Cache:
        return Cache(heads, k_dim, self.kind, capacity=self.capacity, v_head_dim=v_dim)

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Makes the rows, for keys [B, G, n, D] and values [B, G, n, E] on the CPU."""
        batch, heads, _, k_dim = key_states.shape
        if key_states.device.type != "cpu":
            raise ValueError(f"this TqCache is on the CPU, and the model on {key_states.device}: make the cache by "
                             "TqCache.for_model(model) when the model is where it stays")
        self.dtype, self.device = key_states.dtype, key_states.device
        self.rows = [self._new_row(heads, k_dim, value_states.shape[-1]) for _ in range(batch)]
        self.pads = [0] * batch
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple:
        """Takes new keys [B, G, n, D] and values. They are appended by the attention that follows, which knows the
        padding; what is returned names this layer to it."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if self._pending is not None:
            raise RuntimeError("no attention has read the positions of the step before: that step failed, and reset() "
                               "begins anew; or the model does not attend by libtqkv.transformers.enable()'s function")
        if key_states.shape[0] != len(self.pads):
            raise ValueError(f"keys of {key_states.shape[0]} rows for a cache that holds {self.seen} positions of "
                             f"{len(self.pads)}: {ANEW}")
        if key_states.requires_grad or value_states.requires_grad:
            raise RuntimeError("codes have no gradient: run the model under torch.no_grad()")
        self._pending = key_states, value_states
        self.seen += key_states.shape[2]
        shape, last = (*key_states.shape[:2], self._mask_sizes(0)[0]), (key_states, value_states)
        return tuple(Held.of(self, (*shape, x.shape[3]), x.dtype) for x in last)

    def get_seq_length(self) -> int:
        """Positions seen, padding among them."""
        return self.seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(columns of a mask for so many new positions, the position of the first). ValueError for none."""
        if query_length == 0:
            raise ValueError(f"there are no new positions: the cache holds {self.seen}, and the text that was given does not "
                             f"go on from them; {ANEW}")
        return self._mask_sizes(query_length)

    def _mask_sizes(self, query_length: int) -> tuple[int, int]:
        before = self.seen if self.window is None else min(self.seen, self.window - 1)
        return before + query_length, self.seen - before

    def get_max_length(self) -> int:
        """The window; -1: it grows, and what the capacity cannot hold is refused."""
        return -1 if self.window is None else self.window

    def attend(self, query: torch.Tensor, mask: Optional[torch.Tensor], options: dict) -> torch.Tensor:
        """Appends what update() took, and attends: query [B, H, n, D] to [B, n, H, E]."""
        n = query.shape[2]
        shape = (query.shape[0], n, query.shape[1], self.rows[0].v_head_dim)
        out = torch.empty(shape, dtype=query.dtype)
        keys = self._pending
        before = self.seen - n
        skips = self._padding(mask, query.shape[0], n, before)
        if n == 1 and not any(skips):
            if keys is not None:
                self._append(keys[0][:, :, 0], keys[1][:, :, 0])
            attend_batch(self.rows, _array(query[:, :, 0]), out=_array(out[:, 0]), **options)
        else:
            for i, skip in enumerate(skips):
                self._attend_row(i, skip, query[i], keys, out[i], options)
        if keys is not None:  # else the layer whose keys these are has counted it
            self.pads = [pad + skip for pad, skip in zip(self.pads, skips)]
        self._pending = None
        return out

    def _padding(self, mask: Optional[torch.Tensor], batch: int, n: int, before: int) -> list[int]:
        if self._pending is None:  # another layer attends to this one's positions
            return self._shared
        if mask is not None:
            self._shared = new_padding(mask, batch, n, before, self.pads, self.window)
        elif any(self.pads) and self.window is None:
            raise ValueError("rows are padded, and the mask that says so is gone: pass attention_mask in each step")
        else:
            self._shared = [0] * batch
        return self._shared

    def _append(self, k: torch.Tensor, v: torch.Tensor) -> None:
        """A position of every row."""
        for i, row in enumerate(self.rows):
            row.append(_array(k[i]), _array(v[i]))

    def _attend_row(self, i: int, skip: int, query: torch.Tensor, keys: Optional[tuple], out: torch.Tensor,
                    options: dict) -> None:
        out[:skip] = 0  # padding: nobody looks at it, and nothing odd should be there
        n = query.shape[1]
        chunk = self.chunk if self.chunk and keys is not None else max(n, 1)
        for at in range(skip, n, chunk):
            here = slice(at, min(at + chunk, n))
            if keys is not None:
                self.rows[i].append(*(_array(x[i, :, here].transpose(0, 1)) for x in keys))
            self.rows[i].attend(_array(query[:, here].transpose(0, 1)), out=_array(out[here]), **options)

    def reset(self) -> None:
        """Forgets everything."""
        self._forget()

    def crop(self, tokens_to_remove: int) -> None:
        """Forgets the last -tokens_to_remove positions. TqkvError POSITION if a window has forgotten what is then in
        sight."""
        more = int(tokens_to_remove)  # some callers have it in a tensor
        if more > 0:
            raise ValueError(f"crop({more}): the number of positions to remove is given as a negative one")
        if more == 0 or not self.is_initialized:
            return
        seen = max(0, self.seen + more)
        self._crop(seen, [min(pad, seen) for pad in self.pads])

    def _crop(self, seen: int, pads: list[int]) -> None:
        for row, pad in zip(self.rows, pads):
            row.truncate(seen - pad)
        self.seen, self.pads = seen, pads

    def _select(self, indices: list[int]) -> None:
        """Rows by number; one that is wanted more than once is forked, which copies."""
        if not self.is_initialized:
            return
        taken: set[int] = set()
        rows = []
        for i in indices:
            rows.append(self.rows[i].fork() if i in taken else self.rows[i])
            taken.add(i)
        self.rows, self.pads = rows, [self.pads[i] for i in indices]

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Row i becomes what row beam_idx[i] was."""
        self._select(beam_idx.tolist())

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Each row so many times, one behind the other."""
        self._select([i for i in range(len(self.pads)) for _ in range(repeats)])

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Some rows, by number or by a mask of all."""
        self._select(torch.arange(len(self.pads))[indices.cpu()].tolist())

    def offload(self) -> None:
        """It is on the CPU already."""

    def prefetch(self) -> None:
        """Nothing is elsewhere."""


def _without_sinks(kind: str) -> str:
    """The same without first positions in float16: a ring keeps those in sight for ever, and the model's window does
    not."""
    kind = DEFAULT if kind == "default" else kind
    return "+".join(word for word in kind.split("+") if word.partition("=")[0] != "sinks")


class TqSlidingLayer(TqLayer):
    """A layer whose queries look back on `sliding_window` positions, their own among them. Of its kind sinks are left
    out."""

    is_sliding = True
    slack = 512  # positions beyond the window: a chunk of a prompt, and what may be cropped

    def __init__(self, sliding_window: int, kind: str = "default") -> None:
        self.sliding_window = self.window = sliding_window
        super().__init__(_without_sinks(kind), sliding_window + self.slack)
        self.chunk = self.slack
        self.record_past = False

    def _new_row(self, heads: int, k_dim: int, v_dim: int) -> Cache:
        return Cache(heads, k_dim, self.kind, capacity=self.capacity, v_head_dim=v_dim, policy="ring",
                     window=self.sliding_window)

    def activate_past_recording(self) -> None:
        """`slack` positions beyond the window are always there to go back to."""
        self.record_past = True
