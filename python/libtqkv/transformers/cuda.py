# SPDX-License-Identifier: MIT
"""Layers of a TqCache on a CUDA device: codes of all rows in tensors there, attended to by libtqkv_cuda."""

from __future__ import annotations

from typing import Any, Optional

import torch

from .. import _cuda
from ..codec import Codec, _core_error
from .layers import TqLayer

RULES = ("plain", "matched", "unbiased")


def _formats(kind: str) -> tuple[str, str, Optional[str]]:
    """(format of keys, of values, norm rule)"""
    sides, *words = kind.split("+")
    k, _, v = sides.partition("/")
    if kind == "default" or len(words) > 1 or any(word not in RULES for word in words) or {k, v} & {"f16", "bf16"}:
        raise _core_error("UNSUPPORTED", "kind", 0, f"kind {kind!r}: on a CUDA device a TqCache takes formats alone, as in "
                          "'tq6/tq4', with +unbiased or another norm rule; centre, recent and sinks are the CPU's")
    return k, v or k, words[0] if words else None


class Faults:
    """What encoders found in keys and values of any layer: read once a step, when the step before is done."""

    def __init__(self) -> None:
        self.found: Any = None
        self.first: Any = None

    def of(self, layer: Any, like: torch.Tensor) -> Any:
        if self.found is None:
            self.found, self.first = _cuda.no_fault(like), layer
        elif layer is self.first:
            self.check()
        return self.found

    def check(self) -> None:
        index = int(self.found.item())
        if index != -1:
            self.found = None
            raise _core_error("NOT_FINITE", "k or v", index, "keys or values of the step before were not finite, or too "
                              "large: the text since then is not to be trusted; reset() begins anew")


class TqCudaLayer(TqLayer):
    """A layer on a CUDA device, of full attention or, with `sliding_window`, of sliding.

    kind      formats, such as "tq4" or "tq6/tq4", and a norm rule. TqkvError UNSUPPORTED: anything else
    faults    shared by the layers of a cache
    """

    chunk = 256  # queries of a run
    slack = 512  # of a window: what comes at a time, and may be cropped

    def __init__(self, kind: str, capacity: int, sliding_window: Optional[int] = None,
                 faults: Optional[Faults] = None) -> None:
        if sliding_window is not None:
            self.is_sliding, self.window = True, sliding_window
            capacity = sliding_window + self.slack
        self.formats = _formats(kind)
        self.faults = faults or Faults()
        super().__init__(kind, capacity)
        if capacity < 1:
            raise _core_error("POSITION", "capacity", 0, f"a capacity of {capacity}: there must be a position")

    def check(self, heads: int, k_dim: int, v_dim: int) -> None:
        self._codecs(k_dim, v_dim)

    def _codecs(self, k_dim: int, v_dim: int) -> tuple[Codec, Codec]:
        k, v, rule = self.formats
        return Codec(k, k_dim, norm_rule=rule), Codec(v, v_dim, norm_rule=rule)

    def _forget(self) -> None:
        super()._forget()
        self.sides: list[tuple[Codec, Any, Any]] = []  # codec, codes [B, G, C, ..], norms [B, G, C]
        self.top = 0  # positions ever written: of a ring, those that are gone follow from it

    @property
    def nbytes(self) -> int:
        return sum(x.nbytes for _, *both in self.sides for x in both)

    @property
    def nbytes_used(self) -> int:
        held = sum(min(self.seen - pad, self._rows) for pad in self.pads)
        return sum(held * codes.shape[1] * (codec.code_bytes + codec.norm_bytes) for codec, codes, _ in self.sides)

    @property
    def _rows(self) -> int:
        return self.sides[0][1].shape[2] if self.sides else 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Makes room, for keys [B, G, n, D] and values [B, G, n, E] on a CUDA device."""
        batch, heads, _, k_dim = key_states.shape
        if not _cuda.holds(key_states):
            raise ValueError(f"this TqCache is for a CUDA device, and the model on {key_states.device}: make the cache by "
                             "TqCache.for_model(model) when the model is where it stays")
        self.dtype, self.device = key_states.dtype, key_states.device
        self.pads = [0] * batch
        for codec in self._codecs(k_dim, value_states.shape[-1]):
            arrays = codec._arrays(key_states, heads, 0)
            self.sides.append((codec, *(x[None].repeat(batch, *[1] * x.dim()) for x in arrays)))
        self.is_initialized = True
        self._make_room(self.capacity if self.is_sliding else 0)
        self._place()

    def _make_room(self, positions: int) -> None:
        """Tensors grow by halves and more; zeros, so that a slot which nothing was written to is a vector of zeros."""
        if positions > self.capacity and not self.is_sliding:
            raise _core_error("POSITION", "capacity", positions, f"{positions} positions: the cache's capacity is {self.capacity}")
        rows = self._rows
        if positions <= rows and rows:
            return
        rows = -(-max(positions, rows + rows // 2, 256) // 16) * 16

        def grown(x: Any) -> Any:
            made = torch.zeros((*x.shape[:2], rows, *x.shape[3:]), dtype=x.dtype, device=self.device)
            made[:, :, :x.shape[2]] = x
            return made

        self.sides = [(codec, grown(codes), grown(norms)) for codec, codes, norms in self.sides]
        self._place()

    def _place(self) -> None:
        """Lengths of the rows, and the slots where their next positions go."""
        lengths = [self.seen - pad for pad in self.pads]
        self.lengths = torch.tensor(lengths, dtype=torch.int32, device=self.device)
        self.slots = torch.tensor([i * self._rows + n % self._rows for i, n in enumerate(lengths)], dtype=torch.int64,
                                  device=self.device)

    def attend(self, query: torch.Tensor, mask: Optional[torch.Tensor], options: dict) -> torch.Tensor:
        """Appends what update() took, and attends: query [B, H, n, D] to [B, n, H, E]. Does not wait for the device,
        but for the first layer."""
        batch, heads, n, _ = query.shape
        keys, before = self._pending, self.seen - n
        skips = self._padding(mask, batch, n, before)
        out = torch.empty((batch, n, heads, self.sides[1][0].head_dim), dtype=query.dtype, device=self.device)
        queries, chunk = query.transpose(1, 2), n if n == 1 else self.chunk
        pads = [pad + skip for pad, skip in zip(self.pads, skips)]
        if keys is not None:
            if not self.is_sliding:
                self._make_room(self.seen - min(pads))
            fault = self.faults.of(self, keys[0])
        for at in range(0, n, chunk):
            m = min(chunk, n - at)
            if n == 1 and not any(skips):
                if keys is not None:
                    self._step(keys, fault)
                lengths = self.lengths
            else:
                ends = [max(0, before + at + m - pad) for pad in pads]
                if keys is not None:
                    for i, end in enumerate(ends):
                        self._piece(i, [x[i, :, at:at + m] for x in keys], end, fault)
                lengths = torch.tensor(ends, dtype=torch.int32, device=self.device)
            self._run(queries[:, at:at + m], out[:, at:at + m], lengths, options)
        self.pads, self._pending, self.top = pads, None, max(self.top, self.seen)
        if keys is not None and (n > 1 or any(skips)):
            self._place()
        return out

    def _step(self, keys: tuple, fault: Any) -> None:
        """A position of every row, without the host knowing where."""
        for (codec, codes, norms), x in zip(self.sides, keys):
            _cuda.append(codec._tuple, x[:, :, 0], codes, norms, self.slots, fault)
        self.lengths += 1
        if self.is_sliding:
            self.slots += 1
            ends = torch.arange(1, len(self.pads) + 1, device=self.device) * self._rows
            self.slots -= (self.slots == ends) * self._rows
        else:
            self.slots += 1

    def _piece(self, row: int, keys: list, end: int, fault: Any) -> None:
        """The last positions of [G, m, D] that are no padding, up to position `end` of a row."""
        m = min(keys[0].shape[1], end)
        if m == 0:
            return
        slots = torch.arange(end - m, end, dtype=torch.int64, device=self.device) % self._rows + row * self._rows
        for (codec, codes, norms), x in zip(self.sides, keys):
            _cuda.append(codec._tuple, x[:, x.shape[1] - m:].transpose(0, 1), codes, norms, slots, fault)

    def _run(self, queries: torch.Tensor, out: torch.Tensor, lengths: Any, options: dict) -> None:
        """[B, m, H, D] to [B, m, H, E]; those of a chunk lie apart, and go through a tensor of their own."""
        batch, m = queries.shape[:2]
        whole = out if out.is_contiguous() else torch.empty(out.shape, dtype=out.dtype, device=self.device)
        k, v = ((codec._tuple, codes, norms, None, 0) for codec, codes, norms in self.sides)
        scale = options.get("scale")
        _cuda.run(queries.reshape(batch * m, *queries.shape[2:]), whole.view(batch * m, *out.shape[2:]), k, v, m, lengths,
                  self.seen, scale=queries.shape[-1] ** -0.5 if scale is None else scale, softcap=options.get("softcap") or 0.0,
                  window=self.window or 0, sinks=options.get("sinks"))
        if whole is not out:
            out.copy_(whole)

    def _crop(self, seen: int, pads: list[int]) -> None:
        if self.is_sliding and seen and max(0, seen + 1 - self.window) < self.top - self._rows:
            raise _core_error("POSITION", "tokens_to_remove", seen, f"back to {seen} positions: the window of {self.window} "
                              f"and {self.slack} positions beyond it are kept")
        self.seen, self.pads = seen, pads
        self._place()

    def _select(self, indices: list[int]) -> None:
        """Rows by number, copied."""
        if not self.is_initialized:
            return
        chosen = torch.tensor(indices, dtype=torch.int64, device=self.device)
        self.sides = [(codec, codes[chosen], norms[chosen]) for codec, codes, norms in self.sides]
        self.pads = [self.pads[i] for i in indices]
        self._place()

    def activate_past_recording(self) -> None:
        """`slack` positions beyond a window are always there to go back to."""
