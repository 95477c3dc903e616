#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A server for bench/peers/attention.c: times PyTorch's scaled_dot_product_attention on request. Kinds: float32,
bfloat16.

Whichever way of sharing KV heads is the fastest: 'gqa', enable_gqa=True; 'repeat', keys and values repeated for
each query head in the call, as models do; 'rows', the query heads of a KV head as its query rows, which for a
decode step is the same.
"""
import time
import warnings

warnings.filterwarnings("ignore")  # it misses NumPy, and we do not
import torch  # pylint: disable=wrong-import-position
from torch.nn.functional import scaled_dot_product_attention as sdpa  # pylint: disable=wrong-import-position

from serve import serve  # pylint: disable=wrong-import-position


def tensor(data, *shape):
    return torch.frombuffer(data, dtype=torch.float32).reshape(1, *shape)


def by_gqa(q, k, v):
    return sdpa(q, k, v, enable_gqa=True)


def by_repeat(q, k, v):
    group = q.shape[1] // k.shape[1]
    return sdpa(q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1))


def by_rows(q, k, v):
    return sdpa(q.reshape(1, k.shape[1], -1, q.shape[3]), k, v).reshape(q.shape)


WAYS = {"gqa": by_gqa, "repeat": by_repeat, "rows": by_rows}


class Scene:
    def __init__(self, q, k, v, heads, kv_heads, dim, positions, threads):
        torch.set_num_threads(threads)
        q, k, v = tensor(q, heads, 1, dim), tensor(k, kv_heads, positions, dim), tensor(v, kv_heads, positions, dim)
        self.inputs = {t: [x.to(getattr(torch, t)) for x in (q, k, v)] for t in ("float32", "bfloat16")}
        self.best = {t: self.choose(t) for t in self.inputs}
        self.note = "fastest " + ", ".join(f"{dtype} by {way}" for dtype, way in self.best.items())
        self.out = {}

    def seconds(self, dtype, way, passes):
        q, k, v = self.inputs[dtype]
        begun = time.perf_counter()
        for _ in range(passes):
            out = WAYS[way](q, k, v)
        taken = time.perf_counter() - begun
        return taken, out

    def choose(self, dtype):
        return min(WAYS, key=lambda way: min(self.seconds(dtype, way, 1)[0] for _ in range(2)))

    def run(self, dtype, passes):
        taken, self.out[dtype] = self.seconds(dtype, self.best[dtype], passes)
        return taken

    def result(self, dtype):
        return bytes(self.out[dtype].float().contiguous().untyped_storage())


with torch.inference_mode():
    serve(f"PyTorch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}", Scene)
