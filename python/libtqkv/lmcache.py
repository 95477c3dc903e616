# SPDX-License-Identifier: MIT
"""A serde for LMCache (0.5): chunks of a KV cache go to its tiers as blocks of codes.

    import libtqkv.lmcache                               # in the server: registers the name "tqkv"
    "serde": {"type": "tqkv", "head_dim": 128}           # of an L2 adapter's configuration

Options beside head_dim: kind (what libtqkv.Cache takes; "tq6/tq4+centre"), max_workers (1), and dims, the order of a
chunk's dimensions out of "2LTD" (keys and values, layers, tokens, heads times head_dim) and "2TD". The threads of a
serde let go of the interpreter's lock while they work.

What is stored is a head of 16 + 8 L bytes and L blocks (docs/block.md), each of which describes and checks itself. How
many bytes a chunk of a shape takes is the same for all chunks of it, and is what estimate_serialized_size() says.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import torch
from lmcache.v1.distributed.serde import AsyncSerdeProcessor, Deserializer, Serializer, register_serde_factory

from .cache import Cache
from .codec import _core_error

KIND = "tq6/tq4+centre"
_MAGIC = b"tqkvlmc1"


class _Chunk:
    """How a chunk's tensor is taken apart: into keys and values [T, G, D] of each layer."""

    def __init__(self, head_dim: int, kind: str = KIND, dims: str = "2LTD") -> None:
        if dims not in ("2LTD", "2TD"):
            raise ValueError(f"dims must be '2LTD' or '2TD', not {dims!r}")
        Cache(1, head_dim, kind, capacity=4096)  # a kind or head_dim that is none is told here, not in a thread
        self.head_dim, self.kind, self.dims = head_dim, kind, dims

    def split(self, tensor: torch.Tensor) -> torch.Tensor:
        """A view [2, L, T, G, D]."""
        if tensor.dim() != len(self.dims) or tensor.shape[0] != 2 or tensor.shape[-1] % self.head_dim:
            raise ValueError(f"a chunk of shape {tuple(tensor.shape)} is not {self.dims} with heads of {self.head_dim}")
        if self.dims == "2TD":
            tensor = tensor.unsqueeze(1)
        return tensor.view(*tensor.shape[:3], -1, self.head_dim)

    def cache(self, heads: int, tokens: int) -> Cache:
        return Cache(heads, self.head_dim, self.kind, capacity=max(tokens, 4096))


class TqSerializer(Serializer):
    """Encodes chunks."""

    def __init__(self, *options: Any, **named: Any) -> None:
        self._chunk = _Chunk(*options, **named)
        self._sizes: dict[tuple, int] = {}

    def serialize(self, src: Any, dst: Any, key: Any) -> int:
        """Encodes src.tensor, of float32, float16 or bfloat16, into the bytes of dst.tensor. TqkvError: what
        Cache.append() refuses, and SIZE if dst is too small. Returns the number of bytes."""
        parts = self._chunk.split(src.tensor.detach())
        layers, tokens, heads = parts.shape[1:4]
        room = memoryview(_bytes(dst.tensor))
        at, sizes = 16 + 8 * layers, []
        for layer in range(layers):
            cache = self._chunk.cache(heads, tokens)
            cache.append(parts[0, layer], parts[1, layer])
            sizes.append(cache.export_block(out=room[at:]))
            at += sizes[-1]
        struct.pack_into(f"<8sII{layers}Q", room, 0, _MAGIC, layers, heads, *sizes)
        return at

    def estimate_serialized_size(self, layout_desc: Any) -> int:
        """The exact number of bytes of such a chunk: no more, and no fewer."""
        return sum(self._size(tuple(int(n) for n in shape)) for shape in layout_desc.shapes)

    def _size(self, shape: tuple) -> int:
        if shape not in self._sizes:
            layers, tokens, heads = self._chunk.split(torch.empty(shape, device="meta")).shape[1:4]
            cache, zeros = self._chunk.cache(heads, tokens), np.zeros((tokens, heads, self._chunk.head_dim), np.float32)
            cache.append(zeros, zeros)
            self._sizes[shape] = 16 + layers * (8 + len(cache.export_block()))
        return self._sizes[shape]


class TqDeserializer(Deserializer):
    """Decodes what TqSerializer wrote. Damage is told, by the blocks' hashes: TqkvError with a FILE_ status."""

    def __init__(self, *options: Any, **named: Any) -> None:
        self._chunk = _Chunk(*options, **named)

    def deserialize(self, src: Any, dst: Any, key: Any) -> None:
        parts = self._chunk.split(dst.tensor)
        layers, tokens, heads = parts.shape[1:4]
        block = memoryview(_bytes(src.tensor))
        if len(block) < 16 + 8 * layers or bytes(block[:8]) != _MAGIC:
            raise _core_error("FILE_MAGIC", "src", 0, "these bytes are no chunk of libtqkv.lmcache")
        held = struct.unpack_from("<II", block, 8)
        if held != (layers, heads):
            raise _core_error("FILE_SHAPE", "src", 8, f"a chunk of {held[0]} layers and {held[1]} heads, for {layers} and {heads}")
        at, decoded = 16 + 8 * layers, []
        for size in struct.unpack_from(f"<{layers}Q", block, 16):
            if size > len(block) - at:
                raise _core_error("FILE_TRUNCATED", "src", at, f"a block of {size} bytes is not all there")
            cache = self._chunk.cache(heads, tokens)
            cache.import_block(block[at:at + size])
            if cache.length != tokens:
                raise _core_error("FILE_SHAPE", "src", at, f"a chunk of {cache.length} tokens, for {tokens}")
            decoded.append(cache.decode())
            at += size
        for layer, sides in enumerate(decoded):  # once all of it is known to be good
            for side, values in enumerate(sides):
                parts[side, layer].copy_(torch.from_numpy(values))


def _bytes(tensor: torch.Tensor) -> np.ndarray:
    """The bytes of a flat uint8 tensor, where they lie."""
    if tensor.dtype != torch.uint8 or not tensor.is_contiguous() or tensor.device.type != "cpu":
        raise ValueError(f"serialized bytes must be a contiguous uint8 tensor on the CPU, not {tensor.dtype} on {tensor.device}")
    return tensor.view(-1).numpy()


def create_serde(options: dict) -> AsyncSerdeProcessor:
    """What LMCache calls for "serde": {"type": "tqkv", ...}. ValueError for an option that is none."""
    options = {name: given for name, given in options.items() if name != "type"}
    workers = int(options.pop("max_workers", 1))
    unknown = set(options) - {"head_dim", "kind", "dims"}
    if unknown or "head_dim" not in options:
        raise ValueError(f"the serde tqkv wants head_dim, and knows kind, dims and max_workers; not {sorted(unknown)}")
    return AsyncSerdeProcessor(TqSerializer(**options), TqDeserializer(**options), max_workers=workers)


register_serde_factory("tqkv", create_serde)
