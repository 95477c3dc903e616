#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tests/golden/good/*.block: blocks of caches (docs/block.md) that must be imported for ever, and
tests/golden/bad/*.block, which must be refused.

Independent of the C code: plain Python with its own XXH3-64, tables from their definition (tools/tables.py).
tests/cache/test_golden.c says what each block holds. A published file never changes; add new ones instead.
"""
import argparse
import math
import pathlib
import struct

import tables
from golden_io import filler
from xxh3 import xxh3_64

CODES, F16, BF16 = 0, 2, 3  # tq_store
RULES = {"plain": 1, "matched": 2, "unbiased": 3}
HEADER = 192


def floats(values):
    return struct.pack("<%df" % len(values), *values)


def float16(values):
    return struct.pack("<%de" % len(values), *values)


def halves(n, seed):
    """Finite float16 or bfloat16 values of any sign, below 2."""
    low, high = filler(n, seed), filler(n, seed + 1)
    return b"".join(bytes((a, b & 0xBF)) for a, b in zip(low, high))


class Side:
    def __init__(self, name, dim, rule, scale=0.0):
        self.v1, self.bits, self.dim = name.endswith("-v1"), int(name[2]), dim
        self.format = self.bits + (0x100 if self.v1 else 0)
        self.rule, self.scale = RULES[rule], scale
        self.norms = 2 if self.v1 and dim == 512 else 1
        self.row = dim if self.v1 and self.bits > 4 else dim * self.bits // 8

    def codebook(self):
        half = 1 << (self.bits - 1)
        if self.v1:
            data = tables.read_v1()
            levels = [float(x) for x in data[f"centroids{self.bits}"]]
            bounds = [float(x) for x in data[f"boundaries{self.bits}"]][half:]
        else:
            positive = tables.lloyd_max(self.bits)
            levels, bounds = positive + [-x for x in positive], tables.edges(positive)[1:-1]
        packing = 2 if not self.v1 else 1 if self.bits == 4 else 0
        return xxh3_64(struct.pack("<2I", self.bits, packing) + floats(levels) + floats(bounds))

    def rotation(self):
        if self.v1:
            tilt, scale = 1.0, 1 / math.sqrt(self.dim)
            signs = bytes(int(x, 16) for x in tables.read_v1()[f"signs{self.dim}"])
        else:
            tilt, scale = 0.5, math.sqrt(1.6 / self.dim)
            words = tables.splitmix64(tables.SIGN_SEED, tables.MAX_DIM // 64)
            signs = b"".join(struct.pack("<Q", w) for w in words)[:self.dim // 8]
        odd, rest = b"", self.dim // (self.dim & -self.dim)
        for p in tables.odd_primes(tables.MAX_DIM // 16):
            while rest % p == 0:
                odd, rest = odd + floats(tables.cas(p)), rest // p
        return xxh3_64(struct.pack("<2I2f", self.dim, self.v1, tilt, scale) + signs + odd)

    def fields(self, centre, stretch):
        return struct.pack("<5IfIIQQQ8x", CODES, F16, self.format, self.dim, self.rule, self.scale, centre, 0,
                           self.codebook(), self.rotation(), stretch)

    def encoded(self, rows):
        return filler(rows * self.row, self.dim + self.bits)


class Dense:
    """A side that is kept as it is."""
    v1, norms = False, 0

    def __init__(self, store, dim):
        self.store, self.dim = store, dim

    def fields(self, centre, stretch):
        return struct.pack("<4I48x", self.store, self.store, 0, self.dim)

    def encoded(self, rows):
        return halves(rows * self.dim, self.dim)


def block(heads, k, v, first, sinks_end, codes_first, codes_end, end, centre=False, stretch=0, version=2):
    """centre: of every stretch of so many positions that codes lie in; stretch 0: one for all."""
    sides, seed = (k, v), 100
    small = float16 if version == 2 else floats  # as version 1 had norms and centres
    centres = 0 if not centre else (codes_end - 1) // stretch - codes_first // stretch + 1 if stretch else 1
    data = small([(i % 7 - 3) / 8 for i in range(centres * heads * k.dim)])
    for rows in (sinks_end - first, end - codes_end):
        for side in sides:
            seed += 2
            data += halves(heads * rows * side.dim, seed)
    rows = heads * (codes_end - codes_first)
    for side in sides:
        data += (floats if side.v1 else small)([i / 4 for i in range(rows * side.norms)])
    for side in sides:
        data += side.encoded(rows)
    head = b"\x89TQB\r\n\x1a\n" + struct.pack("<2I6Q", version, heads, HEADER + len(data) + 8, first, sinks_end,
                                             codes_first, codes_end, end)
    whole = head + k.fields(centre, stretch) + v.fields(False, 0) + data
    return whole + struct.pack("<Q", xxh3_64(whole))


GOOD = {
    "centre": block(2, Side("tq6", 32, "matched"), Side("tq4", 32, "plain"), 0, 2, 2, 7, 10, centre=True,
                    stretch=4),
    "stretches": block(1, Side("tq5", 48, "matched"), Side("tq8", 48, "unbiased"), 70, 70, 70, 79, 80,
                       centre=True, stretch=3),
    "chunk": block(1, Side("tq2", 576, "unbiased"), Side("tq7", 576, "matched"), 256, 256, 256, 259, 259),
    "ring": block(1, Side("tq8-v1", 512, "plain", 1.25), Side("tq3", 512, "matched"), 0, 1, 20, 22, 23),
    "pairs": block(2, Side("tq4-v1", 256, "plain"), Side("tq5-v1", 256, "plain"), 0, 0, 0, 2, 2),
    "dense": block(2, Dense(BF16, 48), Side("tq3", 80, "matched"), 0, 1, 1, 4, 6),
    "mixed": block(1, Side("tq6", 32, "matched"), Dense(F16, 64), 0, 2, 9, 12, 13, centre=True),
    "empty": block(3, Side("tq8", 1024, "matched"), Side("tq5", 1024, "matched"), 0, 0, 0, 0, 0),
}

BAD = {
    "version-1": block(2, Side("tq6", 32, "matched"), Side("tq4", 32, "plain"), 0, 2, 2, 7, 10, centre=True,
                       version=1),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    golden = pathlib.Path(__file__).resolve().parents[1] / "tests/golden"
    parser.add_argument("--out", type=pathlib.Path, default=golden, help="folder of good and bad (default: %(default)s)")
    out = parser.parse_args().out
    for folder, blocks in {"good": GOOD, "bad": BAD}.items():
        for name, data in blocks.items():
            (out / folder / (name + ".block")).write_bytes(data)


if __name__ == "__main__":
    main()
