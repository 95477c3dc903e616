# SPDX-License-Identifier: MIT
"""A layer's KV cache, and attention on it.

Letters: G KV heads, H query heads, D head_dim of keys and queries, E that of values and outputs, n positions.
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from . import _core, _cuda
from .codec import _core_error, _whole

DEFAULT = "tq6/tq4+centre+recent+sinks"  # what "default" stands for; a test compares them
_STORES = {"f16": 2, "bf16": 3}
_POLICIES = {"global": 0, "ring": 1, "paged": 2}


def _kind(kind: str) -> tuple[str, int, int]:
    """(a name as the library knows it, store of keys, store of values) out of, say, "f16/tq4+recent"."""
    if not isinstance(kind, str):
        raise TypeError(f"kind must be a name, not {type(kind).__name__}")
    sides, plus, rest = kind.partition("+")
    k, slash, v = sides.partition("/")
    if k not in _STORES and v not in _STORES:
        return kind, 0, 0
    v = v if slash else k
    # Of a dense side no format is looked at.
    name = "/".join("tq8" if side in _STORES else side for side in (k, v)) + plus + rest
    return name, _STORES.get(k, 0), _STORES.get(v, 0)


def _sizes(n_kv_heads: int, head_dim: int, v_head_dim: Optional[int]) -> tuple[int, int, int]:
    most = 2**32 - 1
    head_dim = _whole(head_dim, "head_dim", "HEAD_DIM", most)
    return _whole(n_kv_heads, "n_kv_heads", "HEADS", most), head_dim, _whole(v_head_dim or head_dim, "v_head_dim",
                                                                             "HEAD_DIM", most)


class PagePool(_core.PagePool):
    """Pages that caches share, all memory taken at once.

    kind        as of Cache: formats and norm rules of it
    n_pages     at least 1
    page_rows   positions of a page

    TqkvError: HEADS, HEAD_DIM, FORMAT, SIZE, NO_MEMORY. It is neither pickled nor copied.
    """

    def __new__(cls, n_kv_heads: int, head_dim: int, kind: str = "default", *, n_pages: int, page_rows: int = 16,
                v_head_dim: Optional[int] = None) -> "PagePool":
        name, k_store, v_store = _kind("tq6/tq4" if kind == "default" else kind)
        return super().__new__(cls, *_sizes(n_kv_heads, head_dim, v_head_dim), name, _whole(n_pages, "n_pages", "SIZE"),
                               _whole(page_rows, "page_rows", "SIZE"), k_store, v_store)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("a PagePool is not pickled or copied: its memory belongs to the caches of one process")


class Cache(_core.Cache):
    """Keys and values of a layer: encoded as they come, attended to as they lie.

    n_kv_heads, head_dim   G and D; v_head_dim: E, if it is another
    kind       "default" (tq6/tq4+centre+recent+sinks), or a name such as "tq4", "tq6/tq4", "tq4+centre=256",
               "tq8/tq4+recent=128+sinks=4+unbiased"; "f16" and "bf16" in place of a format: that side is
               not encoded
    capacity   positions, at least 1; what is never reached takes no memory, unless it is a ring
    policy     "global": all of them are kept. "ring": the sinks and the last `capacity`. With a pool it is
               "paged", which need not be said
    window     rings and pools: a query looks back on so many positions; None: all there are
    pool       PagePool of the same kind
    k_centre   float32 [G, D], subtracted from all keys, instead of one that is learned

    TqkvError: HEADS, HEAD_DIM, FORMAT, POSITION, POLICY, NOT_FINITE, NO_MEMORY.

    Threads may share it: calls that change it wait for each other, those that attend do not. On failure it is
    what it was.

    copy.deepcopy() forks it. It is not pickled: export_block() has the bytes to send.
    """

    kind: str
    n_kv_heads: int
    head_dim: int
    v_head_dim: int

    def __new__(cls, n_kv_heads: int, head_dim: int, kind: str = "default", *, capacity: int,
                policy: Optional[str] = None, window: Optional[int] = None, pool: Optional[PagePool] = None,
                v_head_dim: Optional[int] = None, k_centre: Any = None) -> "Cache":
        policy = policy or ("paged" if pool is not None else "global")
        if policy not in _POLICIES:
            raise _core_error("POLICY", "policy", 0, f"no policy {policy!r}: there are global, ring and paged")
        name, k_store, v_store = _kind(kind)
        sizes = _sizes(n_kv_heads, head_dim, v_head_dim)
        self = super().__new__(cls, *sizes, name, _whole(capacity, "capacity", "POSITION"), _POLICIES[policy],
                               _whole(window or 0, "window", "POSITION"), k_store, v_store, pool, k_centre)
        self.kind, (self.n_kv_heads, self.head_dim, self.v_head_dim) = kind, sizes
        return self

    def __len__(self) -> int:
        return self.length

    def __repr__(self) -> str:
        return f"<Cache {self.kind} [{self.length}, {self.n_kv_heads}, {self.head_dim}], {self.nbytes} bytes>"

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return self.bytes["held"]

    def fork(self, length: Optional[int] = None) -> "Cache":
        """Another cache with the first `length` positions (None: all). Of a pool's pages none is copied but
        the one that is written to. TqkvError: POSITION where truncate() would say so, NO_MEMORY."""
        made = self._fork(length)
        made.kind, made.n_kv_heads = self.kind, self.n_kv_heads
        made.head_dim, made.v_head_dim = self.head_dim, self.v_head_dim
        return made

    def __deepcopy__(self, memo: dict) -> "Cache":
        return self.fork()

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("a Cache is not pickled or shallowly copied: send the bytes of export_block(), and import_block() "
                        "them into a Cache of the same kind; fork() and copy.deepcopy() make another one here")

    def decode(self, first: int = 0, end: Optional[int] = None) -> tuple[np.ndarray, np.ndarray]:
        """Keys [n, G, D] and values [n, G, E] of positions [first, end) as float32, a copy; attention needs
        none. TqkvError: POSITION if some of them are not there (any more)."""
        first, end = self._range(first, end)
        n = end - first
        k = np.empty((n, self.n_kv_heads, self.head_dim), np.float32)
        v = np.empty((n, self.n_kv_heads, self.v_head_dim), np.float32)
        self._decode(first, end, k, v)
        return k, v

    def export_block(self, first: int = 0, end: Optional[int] = None, out: Any = None) -> Any:
        """Positions [first, end) as bytes that describe and check themselves (docs/block.md).

        out   a writable buffer that has room: the number of bytes written is returned; None: bytes are
        """
        return self._export(*self._range(first, end), out)

    def _range(self, first: int, end: Optional[int]) -> tuple[int, int]:
        length = self.length
        first, end = _whole(first, "first", "POSITION"), length if end is None else _whole(end, "end", "POSITION")
        if not first <= end <= length:
            raise _core_error("POSITION", "end", end, f"positions {first} to {end}: there are 0 to {length}")
        return first, end


def attention(q: Any, k: Any, v: Any, **options: Any) -> Any:
    """Attention of queries over keys and values.

    q        [H, n, D], or [H, D] of one query; float32, float16 or bfloat16
    k, v     Codes, or arrays [G, T, D] and [G, T, E]; H is a multiple of G
    scale    scores are multiplied by it; 1 / sqrt(D)
    causal   True: query i of n stands at position T - n + i and sees none later
    window   and none older than the last `window`; 0: all
    softcap  then cap * tanh(score / cap); 0: off
    sink_positions   so many first positions are seen whatever the window
    sinks    [H] float32: logits that take weight and give no value
    slopes   [H] float32: ALiBi
    query_end   the position behind the last query, if it is not T
    lse      also the logarithm of the sum of exp(score), [H, n]
    partial  results are left open: (acc, max, sum), for merge()
    out      where results go: float32, float16 or bfloat16 [H, n, E]; a new array of q's type and library
    arithmetic   of products with codes, on the CPU: "float", within the bound of tqkv/attention.h, or "integer",
             whose own squared error is below 1 % of the format's (tqkv/attention.h says of what); None:
             the faster of them in a decode step, by format and heads, the same on every machine

    Returns out, (out, lse) or (acc, max, sum). TqkvError with field and index, NOT_FINITE for q among them.

    On a CUDA device q, out, sinks and slopes are tensors there, k and v Codes there; the call does not wait for the
    device, rows that see what is not finite are NaN, outputs are within the bound of TQ_CUDA_FAST
    (tqkv/cuda_attention.h), and there are neither partial results nor query_end nor integers.
    """
    if _cuda.holds(q):
        return _cuda.attention(q, k, v, **options)
    return _core.attention(q, getattr(k, "_parts", k), getattr(v, "_parts", v), **options)


def attend_batch(caches: list[Cache], q: Any, counts: Optional[list[int]] = None, **options: Any) -> Any:
    """Attention of all sequences of a step, in one call; the same bits as one by one.

    caches   of one kind, each once
    q        [N, H, D]: the newest positions of all caches, one cache after the other
    counts   how many of each, N together; None: the same of all
    options  as of attention(), but for query_end; lse and partial results are [N, H]
    """
    return _core.attend_batch(caches, q, counts, **options)


def merge(partials: list, sinks: Any = None, *, heads: int = 0, lse: bool = False) -> Any:
    """Puts partial results together, in the order given: of parts of the positions, for the same queries.

    partials   [(acc, max, sum)] of attention(), Cache.attend() or attend_batch()
    sinks      [H] float32, as in attention(); they belong to the whole and were not looked at by the parts
    heads      the dimension of max that counts heads: 0 for attention()'s, -1 for a cache's
    lse        whether (out, lse) is returned, or out alone
    """
    if not partials:
        raise _core_error("SIZE", "partials", 0, "there are no partial results to merge")
    parts = [tuple(np.from_dlpack(a) for a in part) for part in partials]
    shape, dim = parts[0][1].shape, parts[0][0].shape[-1]
    for acc, most, total in parts:
        if acc.shape != (*shape, dim) or most.shape != shape or total.shape != shape:
            raise _core_error("SIZE", "partials", 0, f"partial results are not all of shape {(*shape, dim)}")
    rows = None
    if sinks is not None:
        spread = [1] * len(shape)
        spread[heads] = shape[heads]
        rows = np.ascontiguousarray(np.broadcast_to(np.asarray(sinks, np.float32).reshape(spread), shape)).reshape(-1)
    flat = [(np.ascontiguousarray(acc).reshape(-1, dim), np.ascontiguousarray(most).reshape(-1),
             np.ascontiguousarray(total).reshape(-1)) for acc, most, total in parts]
    out, total = np.empty((*shape, dim), np.float32), np.empty(shape, np.float32)
    _core.merge(flat, rows, out.reshape(-1, dim), total.reshape(-1) if lse else None)
    return (out, total) if lse else out


def block_info(block: Any) -> dict:
    """What a block of Cache.export_block() says of itself, once it has been checked whole. TqkvError: the
    FILE_ statuses, with the offset of the byte."""
    return _core.block_info(block)
