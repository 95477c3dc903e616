#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes src/format/codebooks.inc, digits.inc and rotations.inc: centroids and boundaries; centroids as
integers; sign bits and the odd factors of the rotation.

  tools/tables.py --write    write them in place
  tools/tables.py --check    exit 1 if the tree's copies differ
  tools/tables.py --report   print residuals and distortions of the v2 codebooks

v1 tables are data (tools/v1_tables.txt); everything else is computed here, in double precision, from
its definition in docs/format.md. Needs nothing but Python's standard library.
"""
import itertools
import math
import pathlib
import struct
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FORMAT = ROOT / "src" / "format"
V1_DATA = ROOT / "tools" / "v1_tables.txt"
V2_BITS = range(2, 9)
MAX_DIM = 1024
SIGN_SEED = 0x74716B7600000001  # "tqkv", then 1


# ---- Lloyd-Max codebooks for N(0,1) -------------------------------------------------------------

def density(x):
    return 0.0 if math.isinf(x) else math.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)


def tail(x):
    return 0.5 * math.erfc(x / math.sqrt(2.0))


def edges(c):
    """Boundaries of the cells of the positive centroids c: 0, the midpoints, infinity."""
    return [0.0] + [0.5 * (a + b) for a, b in zip(c, c[1:])] + [math.inf]


def cells(c):
    """Per cell: mass, conditional mean, and the mean's derivatives by its lower and upper edge."""
    e = edges(c)
    out = []
    for a, b in zip(e, e[1:]):
        mass = tail(a) - tail(b)
        mean = (density(a) - density(b)) / mass
        upper = 0.0 if math.isinf(b) else density(b) * (b - mean) / mass
        out.append((mass, mean, density(a) * (mean - a) / mass, upper))
    return out


def residual(c):
    return [x - cell[1] for x, cell in zip(c, cells(c))]


def newton_step(c):
    """Solves J d = residual, J tridiagonal: edge i-1 | i moves by half of either neighbour."""
    n = len(c)
    info = cells(c)
    low = [0.0 if i == 0 else -0.5 * info[i][2] for i in range(n)]
    up = [0.0 if i == n - 1 else -0.5 * info[i][3] for i in range(n)]
    diag = [1.0 + low[i] + up[i] for i in range(n)]
    rhs = residual(c)
    for i in range(1, n):
        f = low[i] / diag[i - 1]
        diag[i] -= f * up[i - 1]
        rhs[i] -= f * rhs[i - 1]
    d = [0.0] * n
    for i in reversed(range(n)):
        d[i] = (rhs[i] - (up[i] * d[i + 1] if i + 1 < n else 0.0)) / diag[i]
    return d


def quantile(p):
    """x with tail(x) = p, by bisection: only a starting point is needed."""
    lo, hi = 0.0, 20.0
    for _ in range(60):
        mid = 0.5 * (lo + hi)
        lo, hi = (mid, hi) if tail(mid) > p else (lo, mid)
    return 0.5 * (lo + hi)


def lloyd_max(bits):
    """Positive half of the optimal codebook. Starts from the companding law of high resolution,
    point density ~ density^(1/3), that is a normal law of variance 3."""
    n = 1 << (bits - 1)
    c = [math.sqrt(3.0) * quantile(0.5 * (1.0 - (i + 0.5) / n)) for i in range(n)]
    for _ in range(100):
        step = newton_step(c)
        scale = 1.0
        while True:  # damped: centroids stay positive and in order
            t = [x - scale * d for x, d in zip(c, step)]
            if t[0] > 0.0 and all(a < b for a, b in zip(t, t[1:])):
                break
            scale *= 0.5
        c = t
        if max(abs(r) for r in residual(c)) < 1e-14:
            break
    worst = max(abs(r) for r in residual(c))
    if worst >= 1e-12:
        raise SystemExit(f"{bits} bits: residual {worst:.3g} is not below 1e-12")
    return c


def distortion(c, e):
    """E (x - c)^2 over the cells with edges e; both halves. For a < b:
    integral of x^2 density = [a density(a) - b density(b)] + mass."""
    total = 0.0
    for x, a, b in zip(c, e, e[1:]):
        mass = tail(a) - tail(b)
        first = density(a) - density(b)
        second = a * density(a) - (0.0 if math.isinf(b) else b * density(b)) + mass
        total += second - 2.0 * x * first + x * x * mass
    return 2.0 * total


# ---- centroids as integers ----------------------------------------------------------------------

DIGIT = 127                # the largest of a digit, so that two products of bytes fit in 16 bits
LEADING = 128 * DIGIT      # the largest of two digits: 128 high + low, low from -64 to 63
WORD = 1023                # the largest of a word: 1024 times that and TQ_QUERY_WORD fit in 32 bits
WORD_BITS = range(5, 7)    # formats whose error words add less than 1 % to
ROUNDING_MOST = 0.0025     # of a format's error: what one digit may add for normally distributed values
ONE_DIGIT_BITS = range(2, 5)  # formats whose error one digit adds less than 1 % to


def rounding(whole, c, mass):
    """The mean square that is left of N(0,1) when whole numbers stand for c, and the unit that fits best."""
    unit = sum(m * w * x for m, w, x in zip(mass, whole, c)) / sum(m * w * w for m, w in zip(mass, whole))
    return sum(m * (w * unit - x) ** 2 for m, w, x in zip(mass, whole, c)), unit


def shifted(c):
    """[(share, [mass of +x less that of -x])] of values that are not N(0,1) one by one but vary less about
    a mean: what coordinates of real values do over positions."""
    cuts, out = edges(c), []
    for around, means in ((0.95, 0.31), (0.9, 0.44), (0.8, 0.6), (0.7, 0.71)):
        for mean in (0.1 * i for i in range(1, 21)):
            below = lambda x: 0.5 * (1.0 + math.erf((x - mean) / around / math.sqrt(2.0)))
            out.append((math.exp(-0.5 * (mean / means) ** 2) / means,
                        [below(hi) - below(lo) - below(-lo) + below(-hi) for lo, hi in zip(cuts, cuts[1:])]))
    return out


def roundings(c):
    """Whole numbers: c on scales that use half of a digit's range or more, each rounded down or up."""
    for k in range(600, 10 * DIGIT + 1):
        down = [int(x * k / (10.0 * c[-1])) for x in c]
        yield from itertools.product(*((w, w + 1) for w in down[:-1]), (down[-1],))


def integers(bits):
    """(whole numbers, unit, mean square of the rounding over the format's own). One digit: of those that
    add up to ROUNDING_MOST the one whose roundings fade best when many values of a coordinate are added
    up, as they do in attention; two: rounding does not matter."""
    c = lloyd_max(bits)
    own, mass = distortion(c, edges(c)), [2.0 * cell[0] for cell in cells(c)]
    if bits in ONE_DIGIT_BITS:
        near = [w for w in set(roundings(c)) if rounding(w, c, mass)[0] < ROUNDING_MOST * own]
        means = shifted(c)

        def left_over(w):
            unit = rounding(w, c, mass)[1]
            off = [unit * x - y for x, y in zip(w, c)]
            return sum(share * sum(m * d for m, d in zip(less, off)) ** 2 for share, less in means), w
        whole = min(near, key=left_over)
    else:
        whole = [round(x * LEADING / c[-1]) for x in c]
    left, unit = rounding(whole, c, mass)
    return list(whole), unit, left / own


def words(bits):
    """As integers(), of words: fewer bits than two digits, and one product where these take three."""
    c = lloyd_max(bits)
    own, mass = distortion(c, edges(c)), [2.0 * cell[0] for cell in cells(c)]
    whole = [round(x * WORD / c[-1]) for x in c]
    left, unit = rounding(whole, c, mass)
    return whole, unit, left / own


def split(whole):
    high = (whole + 64) // 128
    return high, whole - 128 * high


def signed_bytes(whole):
    """The high byte of 16 bits, and the low one as a signed number."""
    return whole >> 8, (whole & 255) - 256 * (whole >> 7 & 1)


def digits():
    out = list(HEAD)
    for bits in V2_BITS:
        whole, unit, added = integers(bits)
        both = (whole + [-x for x in whole]) * max(1, 16 >> bits)
        note = f"v2, {bits} bits: centroids by stored code, in v2_unit_{bits}; {100.0 * added:.1e} % of error"
        if bits in ONE_DIGIT_BITS:
            out += signed(f"v2_high_{bits}", both, note + "; repeated to 16" * (bits < 4))
        else:
            high, low = zip(*(split(x) for x in whole))
            out += signed(f"v2_high_{bits}", high + tuple(-x for x in high), note)
            out += signed(f"v2_low_{bits}", low + tuple(-x for x in low), "and in 128th of it")
        out += [f"#define v2_unit_{bits} {hexfloat(unit if bits in ONE_DIGIT_BITS else 128.0 * unit)}"]
        if bits in WORD_BITS:
            whole, unit, added = words(bits)
            high, low = zip(*(signed_bytes(x) for x in whole + [-x for x in whole]))
            note = f"the same of 11 bits, in v2_word_unit_{bits}; {100.0 * added:.1e} % of error: high bytes"
            out += signed(f"v2_word_high_{bits}", high, note)
            out += signed(f"v2_word_low_{bits}", low, "and low ones")
            out += [f"#define v2_word_unit_{bits} {hexfloat(unit)}"]
    return "\n".join(out) + "\n"


# ---- signs and rotation -------------------------------------------------------------------------

def splitmix64(seed, n):
    mask = (1 << 64) - 1
    for _ in range(n):
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        z = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        yield z ^ (z >> 31)


def odd_primes(limit):
    return [p for p in range(3, limit, 2) if all(p % q for q in range(3, p, 2))]


def cas(p):
    """Row 1 of the discrete Hartley transform of order p; row r is cas[r * s % p]."""
    angle = [2.0 * math.pi * i / p for i in range(p)]
    return [math.cos(a) + math.sin(a) for a in angle]


# ---- output -------------------------------------------------------------------------------------

def float32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def floats(name, values, comment):
    """Hexadecimal floats: exact, and the compiler has nothing to round."""
    lines = [f"/* {comment} */", f"TQ_TABLE float {name}[{len(values)}] = {{"]
    text = [hexfloat(v) for v in values]
    for i in range(0, len(text), 6):
        lines.append("    " + ", ".join(text[i:i + 6]) + ",")
    return lines + ["};"]


def hexfloat(x):
    x = float32(x)
    return "0.0f" if x == 0.0 else x.hex().replace("0000000p", "p") + "f"


def octets(name, data, comment):
    lines = [f"/* {comment} */", f"TQ_TABLE uint8_t {name}[{len(data)}] = {{"]
    for i in range(0, len(data), 16):
        lines.append("    " + ", ".join(f"0x{b:02x}" for b in data[i:i + 16]) + ",")
    return lines + ["};"]


def signed(name, data, comment):
    lines = [f"/* {comment} */", f"TQ_TABLE signed char {name}[{len(data)}] = {{"]
    for i in range(0, len(data), 16):
        lines.append("    " + ", ".join(str(b) for b in data[i:i + 16]) + ",")
    return lines + ["};"]


def byte_planes(values):
    """The float32 values' bytes: the lowest ones of all values, then the next, and so on."""
    rows = [struct.pack("<f", x) for x in values]
    return bytes(row[b] for b in range(4) for row in rows)


def search_tree(bounds):
    """Ascending bounds as a binary tree in an array: node i has the children 2 i and 2 i + 1, entry 0
    is unused. The boundaries of a depth lie side by side, in order."""
    n = len(bounds) + 1
    tree = [0.0] * n
    step, node = n, 1
    while step > 1:
        for at in range(step // 2, n, step):
            tree[node] = bounds[at - 1]
            node += 1
        step //= 2
    return tree


def read_v1():
    sections, name = {}, None
    for line in V1_DATA.read_text().splitlines():
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if words[0][0].isalpha() and len(words) == 2 and words[1].isdigit():
            name = words[0]
            sections[name] = []
        else:
            sections[name] += words
    return sections


HEAD = ["/* SPDX-License-Identifier: MIT", " * Written by tools/tables.py; do not edit. C, CUDA and OpenCL C: define TQ_TABLE first. */"]


def codebooks():
    v1, out = read_v1(), list(HEAD)
    for bits in (4, 5, 6, 8):
        half = 1 << (bits - 1)
        levels = [float(x) for x in v1[f"centroids{bits}"]]
        bounds = [float(x) for x in v1[f"boundaries{bits}"]]
        if any(float32(a) != -float32(b) for t in (levels, bounds) for a, b in zip(t, reversed(t))):
            raise SystemExit(f"v1 tables of {bits} bits are not antisymmetric")
        out += floats(f"v1_levels_{bits}", levels, f"v1, {bits} bits: centroids by code")
        out += floats(f"v1_bounds_{bits}", bounds[half:], f"v1, {bits} bits: boundaries above zero")
        out += floats(f"v1_tree_{bits}", search_tree(bounds[half:]), "the same as a search tree")
        if bits == 8:
            out += octets("v1_octets_8", byte_planes(levels[half:]), "v1, 8 bits: positive centroids by bytes")
    for bits in V2_BITS:
        c = lloyd_max(bits)
        out += floats(f"v2_levels_{bits}", c + [-x for x in c],
                      f"v2, {bits} bits: centroids by stored code, the positive ones first")
        out += floats(f"v2_bounds_{bits}", edges(c)[1:-1], f"v2, {bits} bits: boundaries above zero")
        out += floats(f"v2_tree_{bits}", search_tree(edges(c)[1:-1]), "the same as a search tree")
        if bits == 8:
            out += octets("v2_octets_8", byte_planes(c), "v2, 8 bits: positive centroids by bytes")
    return "\n".join(out) + "\n"


def rotations():
    v1, out = read_v1(), list(HEAD)
    for dim in (256, 512):
        out += octets(f"v1_signs_{dim}", bytes(int(x, 16) for x in v1[f"signs{dim}"]),
                      f"v1, D = {dim}: bit j, lowest first, flips coordinate j")
    words = list(splitmix64(SIGN_SEED, MAX_DIM // 64))
    out += octets("v2_signs", b"".join(struct.pack("<Q", w) for w in words),
                  f"v2, every D: splitmix64 from 0x{SIGN_SEED:016X}")
    for p in odd_primes(MAX_DIM // 16):
        out += floats(f"cas_{p}", cas(p), f"cos + sin of 2 pi i / {p}")
    return "\n".join(out) + "\n"


def report():
    print("bits  residual    distortion, float64 tables   of the float32 tables: excess")
    for bits in V2_BITS:
        c = lloyd_max(bits)
        best = distortion(c, edges(c))
        e = [0.0] + [float32(x) for x in edges(c)[1:-1]] + [math.inf]
        stored = distortion([float32(x) for x in c], e)
        print(f"{bits:4d}  {max(abs(r) for r in residual(c)):.2e}    {best:.15e}        {stored / best - 1:+.1e}")
    print("bits  digits  what whole numbers add to the distortion")
    for bits in V2_BITS:
        print(f"{bits:4d}  {1 if bits in ONE_DIGIT_BITS else 2:6d}  {100.0 * integers(bits)[2]:.2e} %")
    for bits in WORD_BITS:
        print(f"{bits:4d}    word  {100.0 * words(bits)[2]:.2e} %")


def main():
    args = sys.argv[1:]
    files = {"codebooks.inc": codebooks, "digits.inc": digits, "rotations.inc": rotations}
    if args == ["--report"]:
        report()
    elif args == ["--write"]:
        for name, generate in files.items():
            (FORMAT / name).write_text(generate())
    elif args == ["--check"]:
        stale = [name for name, generate in files.items() if (FORMAT / name).read_text() != generate()]
        if stale:
            raise SystemExit(f"stale: {', '.join(stale)}; run tools/tables.py --write")
        print(f"{', '.join(files)}: up to date")
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
