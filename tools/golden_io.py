#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tests/golden/good and tests/golden/bad: files that must be read, or refused, for ever.

Independent of the C code: plain Python with its own XXH3-64. tests/io/test_golden.c says what each file
holds or why it is refused. A published file never changes; add new ones instead.
"""
import argparse
import json
import pathlib
import struct

from xxh3 import xxh3_64


def npy(header, data, version=(1, 0), align=64):
    text = header.encode("utf-8")
    prefix = 10 if version[0] == 1 else 12
    text += b" " * (-(prefix + len(text) + 1) % align) + b"\n"
    length = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + data


def described(descr, shape, order="False"):
    return "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }" % (descr, order, shape)


def f4(*values):
    return struct.pack("<%df" % len(values), *values)


def f2(*values):
    return struct.pack("<%de" % len(values), *values)


SIX = f4(0.0, -1.5, 2.0, 3.25, -0.0, 1e30)
# zero, both subnormal ends, smallest normal, one, largest, infinities, two NaNs, negative subnormal
HALVES = struct.pack("<10H", 0, 1, 0x3FF, 0x400, 0x3C00, 0x7BFF, 0x7C00, 0xFC00, 0x7E01, 0x8001)

GOOD_NPY = {
    "f4-v1": npy(described("<f4", "(2, 3)"), SIX),
    "f4-v2": npy(described("<f4", "(2, 3)"), SIX, (2, 0)),
    "f4-v3": npy(described("<f4", "(2, 3)"), SIX, (3, 0)),
    "f2-v1": npy(described("<f2", "(10,)"), HALVES),
    "scalar": npy(described("<f4", "()"), f4(7.5)),
    "empty": npy(described("<f4", "(3, 0, 5)"), b""),
    "python2": npy(described("<f4", "(2L, 3L)"), SIX),
    "spelling": npy('{ "shape":(2 ,3,) ,"descr" : "<f4","fortran_order":False}', SIX, align=1),
}
BAD_NPY = {
    "big-endian": npy(described(">f4", "(2, 3)"), SIX),
    "f8": npy(described("<f8", "(3,)"), SIX),
    "fortran": npy(described("<f4", "(2, 3)", "True"), SIX),
    "structured": npy("{'descr': [('gr\u00f6\u00dfe', '<f4')], 'fortran_order': False, 'shape': (6,), }",
                      SIX, (3, 0)),
    "short": npy(described("<f4", "(2, 3)"), SIX[:-1]),
    "long": npy(described("<f4", "(2, 3)"), SIX + b"\0"),
    "overflow": npy(described("<f4", "(4294967296, 4294967296)"), SIX),
    "version": npy(described("<f4", "(2, 3)"), SIX, (4, 0)),
}


def filler(n, seed):
    """Bytes without meaning: a linear congruential generator's top byte."""
    out = bytearray()
    for _ in range(n):
        seed = (seed * 1664525 + 1013904223) & 0xFFFFFFFF
        out.append(seed >> 24)
    return bytes(out)


class Encoded:
    """An encoded file whose parts can be spoilt before it is put together.

    centres and stretch: how many, and of how many positions each; first: the oldest position's number.
    """

    def __init__(self, name, dim, heads, capacity, held=None, ring=0, rule="plain", centres=0, stretch=None,
                 first=0, scale=None, version="3"):
        v1 = name.endswith("-v1")
        norm_type = ("F32", f4) if v1 or version == "2" else ("F16", f2)
        bits = int(name[2])
        row = dim if v1 and bits > 4 else dim * bits // 8
        norms = 2 if v1 and dim == 512 else 1
        self.tensors = {}
        if centres:
            values = [(i % 7 - 3) / 8 for i in range(centres * heads * dim)]
            self.tensors["centre"] = ("F32", [heads, dim], f4(*values)) if norm_type[0] == "F32" else \
                ("F16", [centres, heads, dim], f2(*values))
        shape = [heads, capacity] + ([2] if norms == 2 else [])
        values = norm_type[1](*(i / 4 for i in range(heads * capacity * norms)))
        self.tensors["norms"] = (norm_type[0], shape, values)
        codes = filler(heads * capacity * row, dim + bits)
        self.tensors["codes"] = ("U8", [heads, capacity, row], codes)
        self.fields = {
            "capacity": str(capacity),
            "codebook": "v1-%dbit" % bits if v1 else "lloyd-max-%d" % bits,
            "format": name,
            "head_dim": str(dim),
            "n_kv_heads": str(heads),
            "n_positions": str(capacity if held is None else held),
            "norm_rule": rule,
            "ring_start": str(ring),
            "signs": "v1-%d" % dim if v1 else "splitmix64-1",
            "version": "1" if v1 else version,
        }
        if stretch is not None:
            self.with_fields(centre_stretch=str(stretch), first_position=str(first), n_centres=str(centres))
        if v1:
            self.fields["scale_factor_d512"] = scale or "1"
        self.hash_tensors()
        self.others = {}

    def hash_tensors(self):
        for name, (_, _, data) in self.tensors.items():
            self.fields["xxh3." + name] = "%016x" % xxh3_64(data)

    def set_values(self, name, *values):
        kind, shape, data = self.tensors[name]
        begin = f4(*values) if kind == "F32" else f2(*values)
        self.tensors[name] = (kind, shape, begin + data[len(begin):])
        self.hash_tensors()
        return self

    def with_fields(self, **fields):
        self.fields.update(fields)
        return self

    def file(self, order=("centre", "norms", "codes"), pad=8, indent=None, gap=b""):
        text = "".join("tqkv.%s=%s\n" % item for item in sorted(self.fields.items()))
        metadata = {"tqkv." + key: value for key, value in self.fields.items()}
        metadata["tqkv.xxh3.fields"] = "%016x" % xxh3_64(text.encode())
        metadata.update(self.others)
        header, data = {"__metadata__": metadata}, b""
        for name in order:
            if name in self.tensors:
                kind, shape, values = self.tensors[name]
                offsets = [len(data), len(data) + len(values)]
                header[name] = {"dtype": kind, "shape": shape, "data_offsets": offsets}
                data += values + gap
        spacing = (",", ":") if indent is None else None
        text = json.dumps(header, sort_keys=indent is None, separators=spacing, indent=indent).encode()
        text += b" " * (-len(text) % pad)
        return struct.pack("<Q", len(text)) + text + data


def foreign(**options):
    """As another tool may write it again: other order, other spacing, its own metadata."""
    e = Encoded("tq4", 32, 2, 3, held=2, **options)
    e.others = {"origin": "made by \u00e9diteur", "format": "pt"}
    return e.file(order=("codes", "norms"), pad=1, indent=1)


def v2_files(version):
    return {
        "tq4": Encoded("tq4", 32, 2, 3, held=2, version=version).file(),
        "tq3-centre": Encoded("tq3", 48, 3, 1, rule="matched", centres=1, version=version).file(),
        "tq2-ring": Encoded("tq2", 64, 1, 5, ring=4, rule="unbiased", version=version).file(),
        "tq4-empty": Encoded("tq4", 32, 2, 0, version=version).file(),
        "tq4-foreign": foreign(version=version),
    }


GOOD_ENCODED = {
    **v2_files("3"),
    "tq6-stretches": Encoded("tq6", 32, 2, 5, held=3, centres=2, stretch=2).file(),
    "tq6-stretch-ring": Encoded("tq6", 32, 2, 5, ring=3, centres=3, stretch=2, first=13).file(),
    "tq4-v1": Encoded("tq4-v1", 256, 1, 2).file(),
    "tq8-v1-512": Encoded("tq8-v1", 512, 1, 2, ring=1, scale="1.25").file(),
}


def small():
    return Encoded("tq4", 32, 1, 2)


def stretched(**options):
    return Encoded("tq4", 32, 1, 5, **{"stretch": 2, "first": 3, "centres": 3, **options})


BAD_ENCODED = {
    "not-encoded": (lambda h: struct.pack("<Q", len(h)) + h + SIX)(
        b'{"weight":{"dtype":"F32","shape":[6],"data_offsets":[0,24]}}   '),
    "gap": small().file(gap=b"\0"),
    **{"version-2-" + name: data for name, data in v2_files("2").items()},  # float32 norms and centre
    "newer": small().with_fields(version="4").file(),
    "unknown-field": small().with_fields(future="1").file(),
    "scale-in-v2": small().with_fields(scale_factor_d512="1").file(),
    "leading-zero": small().with_fields(n_positions="02").file(),
    "too-many": small().with_fields(n_positions="3").file(),
    "ring-not-full": small().with_fields(n_positions="1", ring_start="1").file(),
    "ring-outside": small().with_fields(ring_start="2").file(),
    "v1-rule": Encoded("tq4-v1", 256, 1, 1, rule="matched").file(),
    "v1-scale-spelling": Encoded("tq4-v1", 512, 1, 1, scale="1.0").file(),
    "v1-scale-zero": Encoded("tq4-v1", 512, 1, 1, scale="0").file(),
    "v1-scale-inf": Encoded("tq4-v1", 512, 1, 1, scale="inf").file(),
    "v1-head-dim": Encoded("tq5-v1", 128, 1, 1).file(),
    "v1-centre": Encoded("tq4-v1", 256, 1, 1, centres=1).file(),
    "v1-stretch": Encoded("tq4-v1", 256, 1, 1, stretch=2).file(),
    "stretch-zero": stretched(stretch=0).file(),
    "stretch-no-centre": stretched(centres=0).file(),
    "stretch-too-few": stretched(centres=2).file(),
    "stretch-too-many": stretched(centres=4).file(),
    "stretch-shape": stretched(held=3).with_fields(n_centres="2").file(),
    "stretch-beyond": stretched(first=2 ** 64 - 5).file(),
    "first-without-stretch": small().with_fields(first_position="0").file(),
    "two-centres-for-all": Encoded("tq4", 32, 1, 2, centres=2).file(),
    "norm-nan": small().set_values("norms", 1.0, float("nan")).file(),
    "norm-negative": small().set_values("norms", -1.0).file(),
    "centre-inf": Encoded("tq4", 32, 1, 1, centres=1).set_values("centre", 0.0, float("-inf")).file(),
    "fields-checksum": small().file().replace(b'"tqkv.n_positions":"2"', b'"tqkv.n_positions":"1"'),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    golden = pathlib.Path(__file__).resolve().parents[1] / "tests/golden"
    parser.add_argument("--out", type=pathlib.Path, default=golden,
                        help="folder that holds good/ and bad/ (default: %(default)s)")
    out = parser.parse_args().out
    for folder, npys, encodeds in (("good", GOOD_NPY, GOOD_ENCODED), ("bad", BAD_NPY, BAD_ENCODED)):
        (out / folder).mkdir(parents=True, exist_ok=True)
        for files, suffix in ((npys, ".npy"), (encodeds, ".safetensors")):
            for name, data in files.items():
                (out / folder / (name + suffix)).write_bytes(data)


if __name__ == "__main__":
    main()
