# SPDX-License-Identifier: MIT
"""Tensors of one's own judged: what attention loses by each kind of cache, going through it as it grows.

    python judge.py q.npy k.npy v.npy     q [H, T, D], k and v [G, T, D]; none: tensors that are drawn
"""

import sys

import numpy as np

import libtqkv

if len(sys.argv) == 4:
    q, k, v = (np.load(path).astype(np.float32) for path in sys.argv[1:])
else:
    rng = np.random.default_rng(1)
    q = rng.standard_normal((8, 600, 64), np.float32)
    k = rng.standard_normal((2, 600, 64), np.float32) + 3 * rng.standard_normal((2, 1, 64), np.float32)
    v = rng.standard_normal((2, 600, 64), np.float32)
(heads, positions, dim), kv_heads = q.shape, k.shape[0]
exact = libtqkv.attention(q, k, v)

print(f"{'cache':32} {'bits':>6} {'error of outputs':>17}")
for kind in ("f16", "tq8", "default", "tq4+centre", "tq4", "tq3+centre"):
    cache = libtqkv.Cache(kv_heads, dim, kind, capacity=positions)
    out = np.empty((positions, heads, dim), np.float32)
    for t in range(positions):  # as a model does: a position comes, and its queries attend
        cache.append(k[:, t], v[:, t])
        cache.attend(q[:, t], out=out[t])
    error = ((out.transpose(1, 0, 2) - exact) ** 2).sum() / (exact ** 2).sum()
    bits = 8 * (cache.bytes["used"] + cache.bytes["centre"]) / (positions * kv_heads * 2 * dim)
    print(f"{kind:32} {bits:6.2f} {error:17.3g}")
