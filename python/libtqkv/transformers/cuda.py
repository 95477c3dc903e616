# SPDX-License-Identifier: MIT
"""Layers of a TqCache on a CUDA device: codes of all rows in tensors there, attended to by libtqkv_cuda."""

from __future__ import annotations

import contextlib
from typing import Any, Optional

import numpy as np
import torch

from .. import _core, _cuda
from ..cache import DEFAULT
from ..codec import Codec, _core_error
from .layers import TqLayer, _without_sinks
from .places import Move, Rule

RULES = ("plain", "matched", "unbiased")


def _formats(kind: str) -> tuple[str, str, Optional[str]]:
    """(format of keys, of values, norm rule)"""
    sides, *words = kind.split("+")
    k, _, v = sides.partition("/")
    if {k, v} & {"f16", "bf16"}:
        raise _core_error("UNSUPPORTED", "kind", 0, f"kind {kind!r}: on a CUDA device keys and values of a TqCache are both "
                          "in codes, as in 'tq6/tq4'; f16 and bf16 are the CPU's")
    return k, v or k, next((word for word in words if word in RULES), None)


class Steps:
    """What the layers of a cache share: where a step's positions go, which goes to the device once; and what encoders found
    in keys and values of any layer, read once a step, when the step before is done."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.found: dict[Any, Any] = {}  # by device
        self.first: Any = None
        self.moves: dict[tuple, tuple[Move, list]] = {}

    def fault(self, layer: Any, like: torch.Tensor) -> Any:
        """Where encoders are to tell of faults, on the device of `like`. The first layer asks what they told."""
        if layer is self.first:
            self.check()
        if not self.found:
            self.first = layer
        if like.device not in self.found:
            with _kept():
                self.found[like.device] = _cuda.no_fault(like)
        return self.found[like.device]

    def check(self) -> None:
        index = max(int(found.item()) for found in self.found.values())
        if index != -1:
            self.found = {}
            raise _core_error("NOT_FINITE", "k or v", index, "keys or values of the step before were not finite, or too "
                              "large: the text since then is not to be trusted; reset() begins anew")

    def move(self, rule: Rule, starts: list[int], counts: list[int], encoded: list[int], n: int, slots: int, centres: int,
             queries: int, like: torch.Tensor) -> tuple[Move, list]:
        """(a move, its numbers on the device: lengths as each run of so many queries sees them, encoded lengths, slots,
        those of sinks, of float16 that is kept and of keys that have aged, lessons)"""
        key = like.device, rule, tuple(starts), tuple(counts), tuple(encoded), n, slots, centres
        if key not in self.moves:
            if len(self.moves) == 4:  # kinds of layer, and a piece or two
                del self.moves[next(iter(self.moves))]
            move = Move(rule, starts, counts, encoded, n, slots, centres)
            lengths = np.maximum(0, np.add(starts, counts) - np.maximum(0, n - queries * np.arange(1, -(-n // queries) + 1))[:, None])
            here = _cuda.uploaded([np.append(lengths, [move.ends], 0), move.slots, move.sinks, move.recent, move.aged,
                                   *move.lessons], like)
            self.moves[key] = move, [here[0].int(), *here[1:5], here[5:]]
        return self.moves[key]


@contextlib.contextmanager
def _kept() -> Any:
    """What is made in here may be written to later on, whatever mode the model runs in then."""
    with torch.inference_mode(False), torch.no_grad():
        yield


def _mean(keys: torch.Tensor) -> torch.Tensor:
    """Centres float16 [m, G, D] of keys float16 [m, n, G, D], as tq_learn_centre() makes them: sums are exact."""
    x = keys.double()
    total, n = x.sum(1), keys.shape[1]
    worth = (total * total).sum(-1) / n >= 0.5 * (x * x).sum((1, 3))
    return ((total / n) * worth[..., None]).float().half()


class TqCudaLayer(TqLayer):
    """A layer on a CUDA device, of full attention or, with `sliding_window`, of sliding: then sinks are left out of its kind.

    kind     "default", or formats with what a Cache takes beside them. TqkvError UNSUPPORTED: f16 or bf16
    steps    shared by the layers of a cache
    """

    chunk = 256  # queries of a run
    slack = 512  # of a window: what comes at a time, and may be cropped

    def __init__(self, kind: str, capacity: int, sliding_window: Optional[int] = None, steps: Optional[Steps] = None) -> None:
        if sliding_window is not None:
            self.is_sliding, self.window = True, sliding_window
            capacity, kind = sliding_window + self.slack, _without_sinks(kind)
        self.formats = _formats(DEFAULT if kind == "default" else kind)
        self.steps = steps or Steps()
        super().__init__(kind, capacity)
        self.rule = Rule(*_core.kind(kind, capacity))

    def check(self, heads: int, k_dim: int, v_dim: int) -> None:
        super().check(heads, k_dim, v_dim)
        self._codecs(k_dim, v_dim)

    def _codecs(self, k_dim: int, v_dim: int) -> tuple[Codec, Codec]:
        k, v, rule = self.formats
        return Codec(k, k_dim, norm_rule=rule), Codec(v, v_dim, norm_rule=rule)

    def _forget(self) -> None:
        super()._forget()
        self.steps.forget()
        self.sides: list[tuple[Codec, Any, Any]] = []  # codec, codes [B, G, C, ..], norms [B, G, C]
        self.sinks: list[Any] = []  # of keys and of values, float16 [B, G, S, D]
        self.recent: list[Any] = []  # rings of what is not encoded, likewise
        self.centres: Any = None  # float16 [B, M, G, D]: a ring of stretches of each row
        self.tables: Any = None  # int32 [B, ..]: numbers of them
        self.encoded: list[int] = []  # of each row: positions that are encoded or sinks
        self.top = 0  # positions ever written: of a ring, those that are gone follow from it

    @property
    def nbytes(self) -> int:
        centres = [] if self.centres is None else [self.centres]
        return sum(x.nbytes for x in [x for _, *both in self.sides for x in both] + self.sinks + self.recent + centres)

    @property
    def nbytes_used(self) -> int:
        used = 0 if self.centres is None else self.centres.nbytes
        for pad, encoded in zip(self.pads, self.encoded):
            length = self.seen - pad
            sinks = min(length, self.rule.sinks)
            codes = min(encoded - sinks, self._rows)
            for codec, x, _ in self.sides:
                dense = (sinks + length - encoded) * 2 * codec.head_dim
                used += x.shape[1] * (codes * (codec.code_bytes + codec.norm_bytes) + dense)
        return used

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
        self.pads, self.encoded = [0] * batch, [0] * batch
        for codec in self._codecs(k_dim, value_states.shape[-1]):
            with _kept():
                arrays = codec._arrays(key_states, heads, 0)
                self.sides.append((codec, *(x[None].repeat(batch, *[1] * x.dim()) for x in arrays)))
            for rows, to in ((self.rule.sinks, self.sinks), (self.rule.kept, self.recent)):
                if rows:
                    to.append(self._zeros(batch, heads, rows, codec.head_dim))
        self.is_initialized = True
        self._make_room(self.capacity if self.is_sliding else 0)

    def _zeros(self, *shape: int, dtype: torch.dtype = torch.float16) -> Any:
        with _kept():
            return torch.zeros(shape, dtype=dtype, device=self.device)

    def _make_room(self, positions: int) -> None:
        """Tensors grow by halves and more; zeros, so that a slot which nothing was written to is a vector of zeros."""
        if positions > self.capacity and not self.is_sliding:
            raise _core_error("POSITION", "capacity", positions, f"{positions} positions: the cache's capacity is {self.capacity}")
        rows = self._rows
        if positions <= rows and rows:
            return
        rows = max(positions, rows + rows // 2, 256)
        rows = -(-(rows if self.is_sliding else min(rows, self.capacity)) // 16) * 16

        def grown(x: Any, at: int, n: int) -> Any:
            made = self._zeros(*x.shape[:at], n, *x.shape[at + 1:], dtype=x.dtype)
            with _kept():
                made.narrow(at, 0, x.shape[at]).copy_(x)
            return made

        self.sides = [(codec, grown(codes, 2, rows), grown(norms, 2, rows)) for codec, codes, norms in self.sides]
        if self.rule.learn:
            codec, codes, _ = self.sides[0]
            stretches = -(-rows // self.rule.stretch) + 1 if self.rule.stretch else 1
            before = self._zeros(len(self.pads), 0, codes.shape[1], codec.head_dim) if self.centres is None else self.centres
            self.centres, self.tables = grown(before, 1, stretches), None

    def _table(self) -> Any:
        """Numbers of the centres of all stretches so far, and some to come."""
        batch, ring = self.centres.shape[:2]
        stretches = self.seen // self.rule.length + 1
        if self.tables is None or self.tables.shape[1] < stretches:
            at = torch.arange(max(2 * stretches, ring), dtype=torch.int32, device=self.device) % ring
            rows = torch.arange(batch, dtype=torch.int32, device=self.device)
            self.tables = at[None] + ring * rows[:, None]
        return self.tables

    def attend(self, query: torch.Tensor, mask: Optional[torch.Tensor], options: dict) -> torch.Tensor:
        """Appends what update() took, and attends: query [B, H, n, D] to [B, n, H, E]. Does not wait for the device,
        but for the first layer."""
        batch, heads, n, _ = query.shape
        keys, before = self._pending, self.seen - n
        skips = self._padding(mask, batch, n, before)
        out = torch.empty((batch, n, heads, self.sides[1][0].head_dim), dtype=query.dtype, device=self.device)
        queries = query.transpose(1, 2)
        pads = self.pads  # if these are another layer's keys, it has counted their padding
        if keys is not None:
            pads = [pad + skip for pad, skip in zip(pads, skips)]
            fault = self.steps.fault(self, keys[0])
            if not self.is_sliding:
                self._make_room(self.seen - min(pads))
        elif self.is_sliding and n > self.slack:
            raise _core_error("POSITION", "query", n, f"{n} queries of a layer that shares another's window of {self.window}: "
                              f"it holds {self.slack} positions more. Give the text in pieces of at most {self.slack}")
        piece = self.chunk if self.is_sliding and keys is not None else max(n, 1)
        for at in range(0, n, piece):
            m = min(piece, n - at)
            ends = [max(0, before + at + m - pad) for pad in pads]
            counts = [min(m, end) if keys is not None else 0 for end in ends]
            move, here = self.steps.move(self.rule, [end - count for end, count in zip(ends, counts)], counts, self.encoded, m,
                                         self._rows, 0 if self.centres is None else self.centres.shape[1], self.chunk, query)
            if keys is not None:
                self._write(move, here, [x[:, :, at:at + m] for x in keys], fault)
                self.encoded = move.ends
            for number, begin in enumerate(range(0, m, self.chunk)):
                some = slice(at + begin, at + min(begin + self.chunk, m))
                self._run(queries[:, some], out[:, some], here[0][number], here[0][-1], options)
        self.pads, self._pending, self.top = pads, None, max(self.top, self.seen)
        return out

    def _write(self, move: Move, here: list, keys: list, fault: Any) -> None:
        """Encodes a piece [B, G, m, D]: values as they come, keys too if nothing is kept in float16; if it is, keys when they
        have aged, which takes them from the ring or the piece before the piece goes to the ring."""
        _, slots, sinks, recent, aged, lessons = here
        (codec, codes, norms), values = self.sides
        if self.rule.kept:
            keys = [x.half() for x in keys]
            self._encode(values, keys[1], slots, fault)
            ring = torch.cat([self.recent[0], keys[0]], 2) if move.mixed else self.recent[0]
            centres = None if self.centres is None else self.centres.view(-1, *self.centres.shape[2:])
            for lesson in lessons:
                centres[lesson[:, 0]] = _mean(ring[lesson[:, 1, None], :, lesson[:, 2:]])
            if aged.shape[1]:
                _cuda.append(codec._tuple, ring[aged[0], :, aged[1]], codes, norms, aged[2], fault, centres,
                             None if centres is None else aged[3])
        else:
            for side, x in zip(self.sides, keys):
                self._encode(side, x, slots, fault)
        for (row, column, place), to in ((recent, self.recent), (sinks, self.sinks)):
            if to and len(row):
                for held, x in zip(to, keys):
                    x = x[row, :, column].half()
                    held[row, :, place] = x
                    if to is self.sinks:  # which are not encoded
                        fault.masked_fill_((fault == -1) & ~x.isfinite().all(), 0)

    @staticmethod
    def _encode(side: tuple, x: torch.Tensor, slots: Any, fault: Any) -> None:
        codec, codes, norms = side
        _cuda.append(codec._tuple, x.transpose(1, 2).flatten(0, 1), codes, norms, slots, fault)

    def _run(self, queries: torch.Tensor, out: torch.Tensor, lengths: Any, coded: Any, options: dict) -> None:
        """[B, m, H, D] to [B, m, H, E]; those of a chunk lie apart, and go through a tensor of their own."""
        batch, m = queries.shape[:2]
        whole = out if out.is_contiguous() else torch.empty(out.shape, dtype=out.dtype, device=self.device)
        k, v = ((codec._tuple, codes, norms, None, 0) for codec, codes, norms in self.sides)
        tables, dense = None, None
        if self.centres is not None:
            tables = self._table()
            k = (*k[:3], self.centres.view(-1, *self.centres.shape[2:]), self.rule.stretch)
        if self.recent or self.sinks:
            dense = (coded if self.recent else None, *(self.sinks or (None, None)), *(self.recent or (None, None)))
        scale = options.get("scale")
        _cuda.run(queries.reshape(batch * m, *queries.shape[2:]), whole.view(batch * m, *out.shape[2:]), k, v, m, lengths,
                  self.seen, scale=queries.shape[-1] ** -0.5 if scale is None else scale, softcap=options.get("softcap") or 0.0,
                  window=self.window or 0, sinks=options.get("sinks"), tables=tables, dense=dense)
        if whole is not out:
            out.copy_(whole)

    def _crop(self, seen: int, pads: list[int]) -> None:
        if self.is_sliding and seen and max(0, seen + 1 - self.window) < self.top - self._rows:
            raise _core_error("POSITION", "tokens_to_remove", seen, f"back to {seen} positions: the window of {self.window} "
                              f"and {self.slack} positions beyond it are kept")
        self.seen, self.pads = seen, pads
        self.encoded = [min(end, seen - pad) for end, pad in zip(self.encoded, pads)]
        if all(pad == seen for pad in pads):
            self.top = 0

    def _select(self, indices: list[int]) -> None:
        """Rows by number, copied."""
        if not self.is_initialized:
            return
        chosen = torch.tensor(indices, dtype=torch.int64, device=self.device)
        with _kept():
            self.sides = [(codec, codes[chosen], norms[chosen]) for codec, codes, norms in self.sides]
            self.sinks, self.recent = ([x[chosen] for x in to] for to in (self.sinks, self.recent))
            if self.centres is not None:
                self.centres, self.tables = self.centres[chosen], None
        self.pads, self.encoded = ([given[i] for i in indices] for given in (self.pads, self.encoded))

    def activate_past_recording(self) -> None:
        """`slack` positions beyond a window are always there to go back to."""
