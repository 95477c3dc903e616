# SPDX-License-Identifier: MIT
"""Attention in float64 from its definition, on nested lists."""
import math


def heads(shape, values):
    """[H][n][D] nested, from a flat array."""
    n_heads, n, dim = shape
    return [[list(values[(h * n + i) * dim:(h * n + i + 1) * dim]) for i in range(n)] for h in range(n_heads)]


def visible(query, key, causal, window):
    return not (causal and key > query) and (window is None or query - key < window)


def softmax(q, keys, query, scale, causal=False, window=None, softcap=None):
    """Weights, 0 where the mask hides a key, and the log-sum-exp."""
    scores = {}
    for t, key in enumerate(keys):
        if visible(query, t, causal, window):
            score = scale * math.fsum(x * y for x, y in zip(q, key))
            scores[t] = softcap * math.tanh(score / softcap) if softcap else score
    top = max(scores.values())
    total = math.fsum(math.exp(s - top) for s in scores.values())
    return [math.exp(scores[t] - top) / total if t in scores else 0.0 for t in range(len(keys))], \
        top + math.log(total)


def attend(q, k, v, scale=None, **mask):
    """q [H][n][D], k and v [G][T][D]; rows in order: outputs, log-sum-exps, weights."""
    dim, share = len(k[0][0]), len(q) // len(k)
    scale = dim ** -0.5 if scale is None else scale
    outs, lses, weights = [], [], []
    for h, queries in enumerate(q):
        keys, values = k[h // share], v[h // share]
        for i, row in enumerate(queries):
            w, lse = softmax(row, keys, len(keys) - len(queries) + i, scale, **mask)
            outs.append([math.fsum(a * value[d] for a, value in zip(w, values)) for d in range(dim)])
            lses.append(lse)
            weights.append(w)
    return outs, lses, weights


def attend_cache(q, young, encoded, sinks, recent, scale=None, **mask):
    """The same on a cache that grows: (keys, values) in float16, and as codes once they have aged. A query finds
    as many young ones as there are when its own position is the last."""
    dim, share, positions = len(q[0][0]), len(q) // len(young[0]), len(young[0][0])
    scale = dim ** -0.5 if scale is None else scale
    outs, lses, weights = [], [], []
    for h, queries in enumerate(q):
        for i, row in enumerate(queries):
            at = positions - len(queries) + i
            length = at + 1 if mask.get("causal") else positions
            keys, values = ([a[h // share][t] if t < sinks or t >= length - recent else b[h // share][t]
                             for t in range(positions)] for a, b in zip(young, encoded))
            w, lse = softmax(row, keys, at, scale, **mask)
            outs.append([math.fsum(a * value[d] for a, value in zip(w, values)) for d in range(dim)])
            lses.append(lse)
            weights.append(w)
    return outs, lses, weights


def nrmse(got, want):
    error = math.fsum((x - y) ** 2 for a, b in zip(got, want) for x, y in zip(a, b))
    return math.sqrt(error / math.fsum(y * y for b in want for y in b))


def cosine(a, b):
    return math.fsum(x * y for x, y in zip(a, b)) / math.hypot(*a) / math.hypot(*b)
