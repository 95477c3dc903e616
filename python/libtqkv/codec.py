# SPDX-License-Identifier: MIT
"""Vectors to codes and back.

Letters: G heads, T positions, D head_dim, S stretches of positions that share a centre.
"""

from __future__ import annotations

import operator
import os
from typing import Any, Optional, Union

import numpy as np

from . import _core, _cuda


class Codec:
    """How vectors are stored.

    format      "tq2" to "tq8", or "tq4-v1", "tq5-v1", "tq6-v1", "tq8-v1"
    head_dim    D: a multiple of 16 from 32 to 1024; v1: 256 or 512
    norm_rule   "plain", "matched" or "unbiased"; None: the format's own
    scale_factor_d512   read by v1 at D = 512 alone

    TqkvError: FORMAT, HEAD_DIM, NORM_RULE, SCALE_FACTOR. It does not change once made, and may be shared by
    threads.
    """

    __slots__ = ("format", "head_dim", "norm_rule", "code_bytes", "norm_bytes", "_tuple")

    def __init__(self, format: str, head_dim: int, *, norm_rule: Optional[str] = None,
                 scale_factor_d512: float = 1.0) -> None:
        number = _core.format(format)
        rule, name = _core.rule_of(number, 0 if norm_rule is None else _core.rule(norm_rule))
        self._tuple = (number, head_dim, rule, scale_factor_d512)
        self.code_bytes, self.norm_bytes = _core.row_size(self._tuple)
        self.format, self.head_dim, self.norm_rule = format, head_dim, name
        # What row_size() does not look at, an encoder of nothing does.
        self.encode(np.empty((1, 0, head_dim), np.float32))

    @classmethod
    def _from_tuple(cls, numbers: tuple) -> "Codec":
        name = next(name for name, number, _ in _core.formats() if number == numbers[0])
        return cls(name, numbers[1], norm_rule=_core.rule_of(numbers[0], numbers[2])[1],
                   scale_factor_d512=numbers[3])

    def __repr__(self) -> str:
        return f"Codec({self.format!r}, {self.head_dim}, norm_rule={self.norm_rule!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Codec) and self._tuple == other._tuple

    def __hash__(self) -> int:
        return hash(self._tuple)

    @property
    def bits_per_value(self) -> float:
        """Bits of a value, with its share of the norm; without centres."""
        return 8 * (self.code_bytes + self.norm_bytes) / self.head_dim

    def encode(self, x: Any, centre: Any = None, *, centre_stretch: int = 0, out: Optional["Codes"] = None) -> "Codes":
        """Encodes vectors.

        x        [G, T, D] or [T, D], float32, float16 or bfloat16, finite; any strides but of the last
                 dimension; not copied
        centre   [G, D], or with stretches [S, G, D]: subtracted first, rounded to float16; "learn": the
                 mean of x where it has a half of the mean square or more; None: nothing
        centre_stretch   positions that share a centre; 0: all of them
        out      Codes of the same shape and codec, to be overwritten, instead of new ones

        Returns Codes [G, T, D]. TqkvError: NOT_FINITE and RANGE with the index of the value; SIZE, STRIDE,
        FORMAT. With an `out`, rows before the bad one may have been written. A CUDA tensor is encoded where it is,
        to the same bytes, on its device's current stream, for which the call waits; but what is to be learned is
        copied to the CPU.
        """
        x = _three_dims(x, "x")
        heads, rows = x.shape[0], x.shape[1]
        rounded = self._centre(x, centre, centre_stretch)
        if out is None:
            out = Codes(self, *self._arrays(x, heads, rows), rounded, rows, 0, centre_stretch, 0)
        elif not isinstance(out, Codes):
            raise TypeError(f"out must be Codes, not {type(out).__name__}")
        elif out.codec != self or out.shape != (heads, rows, self.head_dim) or out.ring_start != 0:
            raise ValueError(f"out is {out!r}, not of [{heads}, {rows}, {self.head_dim}] and {self!r}")
        encode = _cuda.encode if _cuda.holds(x) else _core.encode
        encode(self._tuple, x, out.codes, out.norms, rounded, centre_stretch)
        out.centre, out.centre_stretch = rounded, centre_stretch
        return out

    def rotate(self, x: Any, *, inverse: bool = False, out: Any = None) -> Any:
        """Turns vectors [..., D] float32 into the domain that codes are in, or back: orthonormal, so that
        lengths and inner products stay. `out` may be x itself. Returns out, or a new array."""
        if not hasattr(x, "shape"):
            raise TypeError("x must be an array: something with the buffer protocol or DLPack")
        if out is None:
            out = np.empty(x.shape, np.float32)
        for array, field in ((x, "x"), (out, "out")):
            if not array.shape or array.shape[-1] != self.head_dim:
                raise _core_error("SIZE", field, len(array.shape),
                                  f"{field} is {list(array.shape)}, not [..., {self.head_dim}]")
        if tuple(out.shape) != tuple(x.shape):
            raise _core_error("SIZE", "out", 0, f"out is {list(out.shape)} and x {list(x.shape)}")
        flat = (-1, self.head_dim)
        _core.rotate(self._tuple, x.reshape(flat), _flat_view(out, flat), inverse)
        return out

    def learn_centre(self, x: Any) -> np.ndarray:
        """The common part of keys x [G, T, D], float32, float16 or bfloat16, as float16 [G, D]; zeros for heads
        in which it has less than half of the mean square.

        TqkvError: NOT_FINITE and RANGE with the index of the value, POSITION if T is 0; SIZE, STRIDE, FORMAT."""
        x = _three_dims(x, "x")
        centre = np.empty((x.shape[0], x.shape[2]), np.float16)
        _core.learn_centre(x, centre)
        return centre

    def _arrays(self, x: Any, heads: int, rows: int) -> tuple[Any, Any]:
        """For codes and norms, where x is."""
        v1 = self._tuple[0] & 0x100
        wanted = (((heads, rows, self.code_bytes), "uint8"),
                  ((heads, rows, self.norm_bytes // 4), "float32") if v1 else ((heads, rows), "float16"))
        if _cuda.holds(x):
            return tuple(_cuda.empty(x, *one) for one in wanted)
        return tuple(np.empty(*one) for one in wanted)

    def _centre(self, x: Any, centre: Any, stretch: int) -> Any:
        if centre is None:
            return None
        if _cuda.holds(x):  # it is learned and rounded here
            given = centre.cpu() if hasattr(centre, "cpu") else centre
            return _cuda.moved(self._centre(x.cpu() if isinstance(centre, str) else x[:, :0].cpu(), given, stretch), x)
        if isinstance(centre, str):
            if centre != "learn":
                raise ValueError(f"centre must be an array, 'learn' or None, not {centre!r}")
            if _whole(stretch, "centre_stretch", "POSITION"):
                if x.shape[1] == 0:
                    raise _core_error("SIZE", "x", 0, "x has no positions that a centre could be learned of")
                return np.stack([self.learn_centre(x[:, at:at + stretch]) for at in range(0, x.shape[1], stretch)])
            return self.learn_centre(x)[None]
        array = np.asarray(centre)
        if array.ndim == 2:
            array = array[None]
        with np.errstate(over="ignore"):  # what becomes infinite is refused
            rounded = np.ascontiguousarray(array, np.float16)
        bad = np.flatnonzero(~np.isfinite(rounded))
        if bad.size:
            raise _core_error("NOT_FINITE", "centre", int(bad[0]), "a value of centre is no finite float16")
        return rounded


class Codes:
    """Encoded vectors, in arrays that may be looked at and passed on.

    Of what a CUDA tensor was encoded to, the arrays are tensors on its device.

    codec      the Codec
    codes      uint8 [G, C, code_bytes]
    norms      float16 [G, C]; of v1 float32 [G, C, 1 or 2]
    centre     float16 [S, G, D] that was subtracted, or None
    n_positions, ring_start   vectors that are held, and the slot of the oldest: T and 0 but for rings
    centre_stretch, first_position   positions that share a centre, and which one the oldest is
    """

    __slots__ = ("codec", "codes", "norms", "centre", "n_positions", "ring_start", "centre_stretch", "first_position")

    def __init__(self, codec: Codec, codes: np.ndarray, norms: np.ndarray, centre: Optional[np.ndarray] = None,
                 n_positions: Optional[int] = None, ring_start: int = 0, centre_stretch: int = 0,
                 first_position: int = 0) -> None:
        self.codec, self.codes, self.norms, self.centre = codec, codes, norms, centre
        self.n_positions = codes.shape[1] if n_positions is None else n_positions
        self.ring_start, self.centre_stretch, self.first_position = ring_start, centre_stretch, first_position

    @property
    def _parts(self) -> tuple:
        return (self.codec._tuple, self.codes, self.norms, self.centre, self.n_positions, self.ring_start,
                self.centre_stretch, self.first_position)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(G, T, D)"""
        return self.codes.shape[0], self.n_positions, self.codec.head_dim

    @property
    def nbytes(self) -> int:
        """Bytes of codes, norms and centres."""
        return self.codes.nbytes + self.norms.nbytes + (0 if self.centre is None else self.centre.nbytes)

    @property
    def bits_per_value(self) -> float:
        """Bits of a value that is held, with all that is kept for it."""
        values = self.shape[0] * self.shape[1] * self.shape[2]
        return 8 * self.nbytes / values if values else 0.0

    def __repr__(self) -> str:
        return f"<Codes {self.codec.format} {list(self.shape)}, {self.nbytes} bytes>"

    def decode(self, out: Any = None, *, rotated: bool = False) -> Any:
        """The vectors, [G, T, D] float32, oldest first; `rotated`: as codes hold them, which is quicker.

        out   float32 [G, T, D], any strides but of the last dimension (rings: of the last two); a new NumPy
              array if None. Returned. On a CUDA device a tensor there, of any float type
        """
        if out is None:
            out = _cuda.empty(self.codes, self.shape, "float32") if _cuda.holds(self.codes) else np.empty(self.shape, np.float32)
        if _cuda.holds(self.codes):
            _cuda.decode(self.codec._tuple, out, self.codes, self.norms, self.centre, self.centre_stretch, rotated)
        elif self.ring_start or self.n_positions != self.codes.shape[1] or self.first_position:
            _core.get(self._parts, out, rotated)
        else:
            _core.decode(self.codec._tuple, out, self.codes, self.norms, self.centre, self.centre_stretch, 0, rotated)
        return out

    def to(self, device: Any) -> "Codes":
        """The same on a device as PyTorch names them, such as "cuda" or "cpu"; on the CPU arrays are NumPy's.
        TqkvError: DEVICE if this package has no libtqkv_cuda, UNSUPPORTED for a ring that is to leave the CPU."""
        import torch
        arrays = [self.codes, self.norms, self.centre]
        if torch.device(device).type == "cpu":
            arrays = [x.cpu().numpy() if _cuda.holds(x) else x for x in arrays]
        else:
            _cuda.load()
            if self.ring_start or self.n_positions != self.codes.shape[1] or self.first_position:
                raise _core_error("UNSUPPORTED", "ring_start", self.ring_start, "a ring stays on the CPU")
            arrays = [x if x is None else (x if _cuda.holds(x) else torch.from_numpy(x)).to(device) for x in arrays]
        return Codes(self.codec, *arrays, self.n_positions, self.ring_start, self.centre_stretch, self.first_position)

    def save(self, path: Union[str, os.PathLike]) -> None:
        """Writes the .safetensors file that `tqkv encode` writes: whole, or not at all. TqkvError: IO and
        others of tq_encoded_write()."""
        _core.save(path, self._parts)


def load(path: Union[str, os.PathLike]) -> Codes:
    """Reads what Codes.save() and `tqkv encode` write. TqkvError: IO, and the FILE_ statuses with the
    offset of the byte at fault."""
    numbers, *rest = _core.load(path)
    return Codes(Codec._from_tuple(numbers), *rest)


def _core_error(status: str, field: str, index: int, message: str) -> Exception:
    from .errors import Status, _raised
    return _raised(Status[status], field, message, index)


def _whole(n: Any, field: str, status: str, most: int = 2**64 - 1) -> int:
    """n if it is a whole number that fits, not what is left of it modulo 2^32 or 2^64."""
    number = operator.index(n)
    if not 0 <= number <= most:
        raise _core_error(status, field, min(max(number, 0), 2**64 - 1), f"{field} {number}: 0 to {most} are known")
    return number


def _three_dims(x: Any, field: str) -> Any:
    """x with a shape of three dimensions, as a view."""
    if isinstance(x, memoryview) or not hasattr(x, "shape"):
        try:
            x = np.asarray(memoryview(x))
        except TypeError:
            raise TypeError(f"{field} must be an array: something with the buffer protocol or DLPack") from None
    if len(x.shape) == 2:
        x = x[None]
    if len(x.shape) != 3:
        raise _core_error("SIZE", field, len(x.shape), f"{field} has {len(x.shape)} dimensions, not 2 or 3")
    return x


def _flat_view(x: Any, shape: tuple[int, int]) -> Any:
    """x in another shape, never a copy: a result would be lost in it."""
    if isinstance(x, np.ndarray):
        if not x.flags.c_contiguous:
            raise _core_error("STRIDE", "out", 0, "out does not lie side by side")
        return x.reshape(shape)
    try:
        return x.view(*shape)
    except RuntimeError:
        raise _core_error("STRIDE", "out", 0, "out does not lie side by side") from None
