# SPDX-License-Identifier: MIT
"""What each format does to tensors of one's own."""

from __future__ import annotations

import os
from typing import Any, NamedTuple, Optional, Union

import numpy as np

from . import _core
from .cache import attention
from .codec import Codec


class Row(NamedTuple):
    """A format's figures. Errors are relative and squared; None: not asked for, or not known for it."""

    format: str
    bits: float  # of a value, with its share of the norm
    k: float  # keys
    k_centred: Optional[float]  # keys with a centre that is learned from them; not of v1
    v: float  # values
    out: Optional[float]  # outputs of attention, keys centred where that is known


_MEANING = """\
bits: of a value, its share of the norm counted. The others are squared errors over squared values:
of keys as they are, of keys of which a learned centre is subtracted ("centred"), of values, and of
outputs of attention with both; -: not known of that format, or no queries were given."""


class Sweep:
    """Rows by format; str() and print() show a table and what it means."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        heads = ["format", "bits", "keys", "centred", "values", "attention"]
        lines = [heads] + [[row.format, f"{row.bits:.3f}", *("-" if x is None else f"{x:.3g}" for x in row[2:])]
                           for row in self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
        table = ["  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths)))
                 for line in lines]
        return "\n".join([*table, _MEANING])

    __repr__ = __str__

    def plot(self, path: Union[str, os.PathLike, None] = None) -> Any:
        """Errors over bits, as a figure of matplotlib's; written to path if that is given. Returns the figure.

        ImportError where matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("a plot needs matplotlib: pip install matplotlib") from error

        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.add_subplot()
        for name, at in (("keys", 2), ("keys, centred", 3), ("values", 4), ("attention", 5)):
            points = sorted((row.bits, row[at]) for row in self.rows if row[at] is not None)
            if points:
                axes.plot(*zip(*points), marker="o", label=name)
        axes.set(xlabel="bits a value", ylabel="relative squared error", yscale="log")
        axes.grid(alpha=0.3)
        axes.legend()
        if path is not None:
            figure.savefig(path)
        return figure


def _error(got: np.ndarray, true: np.ndarray) -> float:
    power = float(np.square(true, dtype=np.float64).sum())
    error = float(np.square(got.astype(np.float64) - true).sum())
    return error / power if power else (0.0 if not error else float("inf"))


def _serves(name: str, dim: int) -> bool:
    return not name.endswith("-v1") or dim in (256, 512)


def sweep(k: Any, v: Any, q: Any = None, *, formats: Optional[list[str]] = None) -> Sweep:
    """Encodes and decodes keys and values in each format, and says what that costs.

    k, v      [G, T, D] and [G, T, E], float32, float16 or bfloat16
    q         [H, n, D] of the same type: queries of the newest n positions, for attention's error
    formats   names; None: all that serve D and E

    TqkvError as of Codec.encode() and attention().
    """
    k32, v32 = (_float32(x) for x in (k, v))
    q32 = None if q is None else _float32(q)
    dims = k32.shape[-1], v32.shape[-1]
    if isinstance(formats, str):
        raise TypeError(f"formats must be a list of names, such as [{formats!r}]")
    names = formats if formats is not None else [name for name, _, _ in _core.formats() if all(_serves(name, d) for d in dims)]
    exact = None if q32 is None else attention(q32, k32, v32)
    rows = []
    for name in names:
        kc, vc = Codec(name, dims[0]), Codec(name, dims[1])
        keys, values, centred = kc.encode(k32), vc.encode(v32), None
        if not name.endswith("-v1"):
            centred = kc.encode(k32, "learn")
        rows.append(Row(name, (kc.bits_per_value + vc.bits_per_value) / 2, _error(keys.decode(), k32),
                        None if centred is None else _error(centred.decode(), k32), _error(values.decode(), v32),
                        None if exact is None else _error(attention(q32, centred or keys, values), exact)))
    return Sweep(rows)


def _float32(x: Any) -> np.ndarray:
    """x as [.., .., ..] float32: a copy where it is of another type."""
    if hasattr(x, "detach"):  # a tensor of PyTorch's
        x = x.detach().float()
    array = np.asarray(x if not hasattr(x, "numpy") else x.numpy())
    if array.ndim not in (2, 3) or array.dtype.kind in "cOSU":
        raise TypeError(f"keys, values and queries must be arrays [heads, positions, head_dim] of real numbers, not {x!r:.60}")
    array = array.astype(np.float32, copy=False)
    return array[None] if array.ndim == 2 else array
