# SPDX-License-Identifier: MIT
"""CUDA tensors of PyTorch's: by libtqkv_cuda, on their device and its current stream, in that stream's order.

The library lies beside this file if the package was built where nvcc is; TQKV_CUDA_LIBRARY names another. It is opened
when the first such tensor comes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Optional

import numpy as np

from . import _core
from .errors import Status, _raised

_BESIDE = Path(__file__).with_name("libtqkv_cuda.so")
_KINDS = {"float32": 0, "float16": 1, "bfloat16": 2}  # tq_type
_plans: dict[tuple, tuple[Any, int]] = {}  # kept: work that uses one may be under way


def holds(x: Any) -> bool:
    """Whether x is a tensor of PyTorch's on a CUDA device."""
    return bool(getattr(x, "is_cuda", False))


def library() -> Optional[str]:
    """Where libtqkv_cuda is; None: this package was built without it."""
    return os.environ.get("TQKV_CUDA_LIBRARY") or (str(_BESIDE) if _BESIDE.exists() else None)


def load() -> None:
    """TqkvError DEVICE if there is none, or it cannot be opened."""
    path = library()
    if path is None:
        raise _raised(Status.DEVICE, "library", "this package was built without libtqkv_cuda, which CUDA tensors want: copy "
                      "them to the CPU, x.cpu(); or build it where nvcc is on PATH, or name the library by "
                      "TQKV_CUDA_LIBRARY", 0)
    _core.cuda_load(path)


def place(x: Any) -> tuple[int, int]:
    """(device, its current stream as DLPack has it)"""
    import torch
    load()
    return x.device.index, torch.cuda.current_stream(x.device).cuda_stream or 1


def current(x: Any) -> Any:
    """x's device made the current one: PyTorch exports no tensors of another."""
    import torch
    return torch.cuda.device(x.device)


def empty(like: Any, shape: tuple, kind: str) -> Any:
    import torch
    return torch.empty(shape, dtype=getattr(torch, kind), device=like.device)


def moved(array: Any, like: Any) -> Any:
    """An array of NumPy's, or None, where `like` is."""
    import torch
    return None if array is None else torch.from_numpy(array).to(like.device)


def encode(codec: tuple, x: Any, codes: Any, norms: Any, centre: Any, stretch: int) -> None:
    """x [G, T, D] to codes [G, T, ..] and norms [G, T]. Waits for the device, to tell of what is not finite."""
    fault = no_fault(x)
    with current(x):
        _core.cuda_encode(place(x), codec, x.transpose(0, 1), codes[None], norms[None], None, 0, centre, stretch, None, fault)
    check(fault, x, "x")


def uploaded(arrays: list, like: Any) -> list:
    """Arrays int64 of NumPy's where `like` is, in one copy that nobody waits for."""
    import torch
    ends = np.cumsum([array.size for array in arrays])
    flat = onto(torch.from_numpy(np.concatenate([array.ravel() for array in arrays])), like)
    return [flat[end - array.size:end].view(array.shape) for end, array in zip(ends.tolist(), arrays)]


def onto(host: Any, like: Any) -> Any:
    return host.pin_memory().to(like.device, non_blocking=True)


def append(codec: tuple, x: Any, codes: Any, norms: Any, slots: Any, fault: Any, centres: Any = None,
           numbers: Any = None) -> None:
    """Vectors x [n, G, D] to slots, int64 [n], of pages codes [P, G, R, ..] and norms [P, G, R]: slot i is row i % R of
    page i // R, and none if it is negative. Of each, centre numbers[i] of centres float16 [S, G, D] is taken off. Waits for
    nothing."""
    with current(x):
        _core.cuda_encode(place(x), codec, x, codes, norms, slots, 0, centres, int(centres is not None), numbers, fault)


def no_fault(like: Any) -> Any:
    """What encoders lower to the index of a value that cannot be encoded."""
    fault = empty(like, (1,), "int64")
    return fault.fill_(-1)


def check(fault: Any, x: Any, field: str) -> None:
    """TqkvError NOT_FINITE or RANGE if a call found something in x. Waits for the device."""
    index = int(fault.item())
    if index == -1:
        return
    value = float(x.as_strided((1,), (1,), x.storage_offset() + index).float().item())
    finite = value - value == 0
    raise _raised(Status.RANGE if finite else Status.NOT_FINITE, field, f"{field}[{index}] is {value}"
                  + (": it, or the norm of its vector, is too large" if finite else ": it must be finite"), index)


def decode(codec: tuple, out: Any, codes: Any, norms: Any, centre: Any, stretch: int, rotated: bool) -> None:
    with current(out):
        _core.cuda_decode(place(out), codec, codes[None], norms[None], centre, stretch, out, rotated)


def up(n: int, least: int) -> int:
    """The next power of 2: plans serve all below."""
    return max(least, 1 << (n - 1).bit_length())


def plan(device: int, shape: tuple, formats: tuple, score: tuple, sight: tuple, limits: tuple, types: tuple,
         layout: tuple) -> tuple[Any, int]:
    """A planned kind of layer, and its bytes of workspace; that of the last call of the kind."""
    key = device, shape, formats, score, sight, limits, types, layout
    if key not in _plans:
        _plans[key] = _core.cuda_plan(*key)
    return _plans[key]


def run(q: Any, out: Any, k: tuple, v: tuple, n: int, lengths: Any, positions: int, *, scale: float, softcap: float = 0.0,
        causal: bool = True, window: int = 0, sink_positions: int = 0, lse: Any = None, sinks: Any = None,
        slopes: Any = None, tables: Any = None, dense: Optional[tuple] = None) -> None:
    """Attention of B sequences of n queries.

    q, out      [B n, H, D] and [B n, H, E], strides but of the last dimension
    k, v        (numbers of a codec, codes [P, G, R, ..], norms [P, G, R], centre, stretch): sequence b lies in page b
    lengths     int32 [B], each at most `positions`
    tables      int32 [B, stretches]: numbers of centres; their stretch may be 0, and there is one
    dense       (encoded lengths int32 [B], sinks of keys float16 [B, G, S, D], of values, rings of what is not encoded)
    """
    at = place(q)
    (k_format, k_dim, *_), (v_format, v_dim, *_) = k[0], v[0]
    rows, sequences = k[1].shape[2], lengths.shape[0]
    any_layout = rows % 16 != 0 or k[1].shape[3] % 16 != 0 or v[1].shape[3] % 16 != 0
    made, room = plan(at[0], (q.shape[1], k[1].shape[1], k_dim, v_dim), (k_format, v_format), (scale, softcap),
                      (causal, window, sink_positions), (sequences, sequences * up(n, 1), up(positions, 512)),
                      tuple(_KINDS[str(x.dtype).rpartition(".")[2]] for x in (q, out)), (any_layout, k[4], dense is not None))
    with current(q):
        _core.cuda_attend(at, made, q, out, lse, k, v, n, lengths, tables, sinks, slopes, dense, empty(q, (max(room, 1),), "uint8"))


def attention(q: Any, k: Any, v: Any, *, scale: Optional[float] = None, causal: bool = True, window: int = 0,
              softcap: Optional[float] = None, sink_positions: int = 0, sinks: Any = None, slopes: Any = None,
              query_end: Optional[int] = None, lse: bool = False, partial: bool = False, out: Any = None,
              arithmetic: Optional[str] = None) -> Any:
    """libtqkv.attention() of a query on a CUDA device, over Codes there."""
    import torch
    for side, field in ((k, "k"), (v, "v")):
        if not holds(getattr(side, "codes", None)) or side.codes.device != q.device:
            raise _raised(Status.DEVICE, field, f"{field} must be Codes on {q.device}, where q is: encode it there, or "
                          f"{field}.to(q.device)", 0)
        if side.ring_start or side.first_position or side.n_positions != side.codes.shape[1] or not side.n_positions:
            raise _raised(Status.UNSUPPORTED, field, f"{field} is a ring, or empty: on a device Codes hold positions from 0 on", 0)
    if partial or query_end is not None:
        raise _raised(Status.UNSUPPORTED, "partial" if partial else "query_end", "partial results and query_end are the "
                      "CPU's: on a device queries are the newest positions", 0)
    if arithmetic not in (None, "float"):
        raise _raised(Status.UNSUPPORTED, "arithmetic", "arithmetic on a device is 'float' or None: integers are the CPU's", 0)
    if v.centre is not None:
        raise _raised(Status.FORMAT, "v", "v has a centre, which attention takes of keys alone", 0)
    if k.shape[:2] != v.shape[:2] or q.dim() not in (2, 3) or q.shape[-1] != k.codec.head_dim:
        raise _raised(Status.SIZE, "q", f"q is {list(q.shape)}, k {list(k.shape)} and v {list(v.shape)}: they must be "
                      "[H, n, D], [G, T, D] and [G, T, E]", 0)
    if scale == 0:
        raise _raised(Status.SCALE, "scale", "scale is 0: all keys would weigh the same", 0)
    three = q if q.dim() == 3 else q[:, None]
    heads, n, length = *three.shape[:2], k.shape[1]
    if n > length and causal:
        raise _raised(Status.POSITION, "q", f"q is of {n} positions, and there are {length}", n)
    if out is None:
        out = torch.empty(*q.shape[:-1], v.codec.head_dim, dtype=q.dtype, device=q.device)
    elif tuple(out.shape) != (*q.shape[:-1], v.codec.head_dim):
        raise _raised(Status.SIZE, "out", f"out is {list(out.shape)}, not {[*q.shape[:-1], v.codec.head_dim]}", 0)
    if n == 0:
        return (out, torch.empty(q.shape[:-1], device=q.device)) if lse else out
    sums = torch.empty(n, heads, dtype=torch.float32, device=q.device) if lse else None
    stretches = 0 if k.centre is None or not k.centre_stretch else k.centre.shape[0]
    run(three.transpose(0, 1), (out if q.dim() == 3 else out[:, None]).transpose(0, 1), _side(k), _side(v), n,
        torch.full((1,), length, dtype=torch.int32, device=q.device), length,
        scale=scale or q.shape[-1] ** -0.5, softcap=softcap or 0.0, causal=causal, window=window,
        sink_positions=sink_positions, lse=sums, sinks=sinks, slopes=slopes,
        tables=torch.arange(stretches, dtype=torch.int32, device=q.device)[None] if stretches else None)
    return (out, sums.t() if q.dim() == 3 else sums[0]) if lse else out


def _side(codes: Any) -> tuple:
    return codes.codec._tuple, codes.codes[None], codes.norms[None], codes.centre, codes.centre_stretch
