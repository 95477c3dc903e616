# SPDX-License-Identifier: MIT
"""safetensors files without PyTorch: written piece by piece, read where they lie."""
import json
import struct

import numpy as np

import files

TYPES = {"U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "I32": np.int32, "F16": np.float16, "F32": np.float32}


def write(path, tensors, metadata):
    """tensors: name to (type, shape, make), make() gives the array when its turn comes: a model need not be in
    memory whole. Data start at a multiple of 64 bytes."""
    header, offset = {"__metadata__": {k: str(v) for k, v in metadata.items()}}, 0
    for name, (kind, shape, _) in tensors.items():
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(TYPES[kind]).itemsize
        header[name] = {"dtype": kind, "shape": list(map(int, shape)), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-(len(text) + 8) % 64)
    with files.whole(path) as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name, (kind, shape, make) in tensors.items():
            values = np.ascontiguousarray(make())
            assert values.dtype == TYPES[kind] and values.shape == tuple(shape), name
            out.write(values.astype(values.dtype.newbyteorder("<"), copy=False).data)


def given(values):
    """An array that is there already, as write takes it."""
    kind = next(k for k, t in TYPES.items() if t == values.dtype)
    return kind, values.shape, lambda: values


def read(path):
    """Its tensors, mapped, and its metadata."""
    data = np.memmap(path, mode="r")
    (size,) = struct.unpack("<Q", data[:8].tobytes())
    header = json.loads(data[8:8 + size].tobytes())
    metadata, tensors = header.pop("__metadata__", {}), {}
    for name, entry in header.items():
        begin, end = (8 + size + at for at in entry["data_offsets"])
        tensors[name] = data[begin:end].view(TYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors, metadata
