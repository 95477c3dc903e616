# SPDX-License-Identifier: MIT
"""XXH3-64 with seed 0 in plain Python: a second opinion on the checksums of encoded files.

Follows the specification in the xxHash repository (doc/xxhash_spec.md). Slow; for small test files.
"""

SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2, P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P64_4, P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
M64 = (1 << 64) - 1


def r32(b, i):
    return int.from_bytes(b[i:i + 4], "little")


def r64(b, i):
    return int.from_bytes(b[i:i + 8], "little")


def rotl(x, n):
    return (x << n | x >> (64 - n)) & M64


def swap(x):
    return int.from_bytes(x.to_bytes(8, "little"), "big")


def fold(a, b):
    product = a * b
    return (product & M64) ^ (product >> 64)


def avalanche(h):
    h ^= h >> 37
    h = h * 0x165667919E3779F9 & M64
    return h ^ h >> 32


def avalanche64(h):
    h ^= h >> 33
    h = h * P64_2 & M64
    h ^= h >> 29
    h = h * P64_3 & M64
    return h ^ h >> 32


def upto16(b):
    n = len(b)
    if n > 8:
        lo = r64(b, 0) ^ r64(SECRET, 24) ^ r64(SECRET, 32)
        hi = r64(b, n - 8) ^ r64(SECRET, 40) ^ r64(SECRET, 48)
        return avalanche((n + swap(lo) + hi + fold(lo, hi)) & M64)
    if n >= 4:
        h = (r32(b, n - 4) + (r32(b, 0) << 32)) ^ r64(SECRET, 8) ^ r64(SECRET, 16)
        h ^= rotl(h, 49) ^ rotl(h, 24)
        h = h * 0x9FB21C651E98DF25 & M64
        h ^= (h >> 35) + n
        h = h * 0x9FB21C651E98DF25 & M64
        return h ^ h >> 28
    if n > 0:
        combined = b[0] << 16 | b[n >> 1] << 24 | b[n - 1] | n << 8
        return avalanche64(combined ^ r32(SECRET, 0) ^ r32(SECRET, 4))
    return avalanche64(r64(SECRET, 56) ^ r64(SECRET, 64))


def mix16(b, i, s):
    return fold(r64(b, i) ^ r64(SECRET, s), r64(b, i + 8) ^ r64(SECRET, s + 8))


def upto128(b):
    n = len(b)
    acc = n * P64_1
    for k in range((n - 1) // 32, -1, -1):
        acc += mix16(b, 16 * k, 32 * k) + mix16(b, n - 16 * (k + 1), 32 * k + 16)
    return avalanche(acc & M64)


def upto240(b):
    n = len(b)
    acc = n * P64_1 + sum(mix16(b, 16 * i, 16 * i) for i in range(8))
    acc = avalanche(acc & M64)
    acc += sum(mix16(b, 16 * i, 16 * (i - 8) + 3) for i in range(8, n // 16))
    acc += mix16(b, n - 16, 136 - 17)
    return avalanche(acc & M64)


def accumulate(acc, b, at, s):
    for i in range(8):
        value = r64(b, at + 8 * i)
        key = value ^ r64(SECRET, s + 8 * i)
        acc[i ^ 1] = (acc[i ^ 1] + value) & M64
        acc[i] = (acc[i] + (key & 0xFFFFFFFF) * (key >> 32)) & M64


def longer(b):
    n = len(b)
    acc = [P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1]
    stripes = (n - 1) // 64
    for stripe in range(stripes):
        accumulate(acc, b, 64 * stripe, 8 * (stripe % 16))
        if stripe % 16 == 15:
            for i in range(8):
                acc[i] = (acc[i] ^ acc[i] >> 47 ^ r64(SECRET, 128 + 8 * i)) * P32_1 & M64
    accumulate(acc, b, n - 64, 192 - 64 - 7)
    h = n * P64_1
    for i in range(4):
        h += fold(acc[2 * i] ^ r64(SECRET, 11 + 16 * i), acc[2 * i + 1] ^ r64(SECRET, 19 + 16 * i))
    return avalanche(h & M64)


def xxh3_64(b):
    for limit, of in ((16, upto16), (128, upto128), (240, upto240)):
        if len(b) <= limit:
            return of(b)
    return longer(b)
