#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Times a decode step of attention by PyTorch in bfloat16, every way that it has, and by FA3 where it is installed.

Usage: baseline.py [--budget SECONDS] [--like FILE] [--many]

Prints a line of JSON for each. Buffers take turns, so that nothing is met again in the L2 cache; launches are replayed
as CUDA graphs. --like leaves out what took 1.3 times the best of its shape in those lines, of a run before;
--many all shapes of one query.
"""
import argparse
import json
import math
import sys
import time
import warnings

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

# H, G, D, B, T, n: the shapes of bench_cuda.c for which a bfloat16 peer is fast; at D = 512 none is.
SHAPES = [
    (32, 8, 128, 8, 32768, 1), (32, 8, 128, 32, 32768, 1), (16, 8, 256, 8, 32768, 1), (16, 8, 256, 32, 32768, 1),
    (32, 8, 128, 8, 4096, 1), (32, 8, 128, 1, 4096, 1), (32, 8, 128, 1, 32768, 1),
    (64, 8, 64, 8, 32768, 1), (32, 8, 64, 8, 32768, 1),
    (32, 8, 128, 8, 32768, 4), (32, 8, 128, 8, 32768, 8), (16, 8, 256, 8, 32768, 4), (16, 8, 256, 8, 32768, 8),
    (32, 8, 128, 8, 32768, 16), (16, 8, 256, 8, 32768, 16), (32, 8, 128, 1, 32768, 512), (16, 8, 256, 1, 32768, 512),
    (32, 8, 128, 32, 131072, 1),
]
LEAST_REPLAYS, MOST_REPLAYS, SECONDS = 15, 100, 0.1
NAMES = ("heads", "kv_heads", "dim", "batch", "positions", "queries")
started = time.time()


def say(**row):
    print(json.dumps(row), flush=True)


def fa3():
    """flash_attn_with_kvcache and what it is, or None and why."""
    for name in ("fa3_fwd_interface", "flash_attn_interface"):
        try:
            module = __import__(name)
            return module.flash_attn_with_kvcache, f"{name} {getattr(module, '__version__', '')}".strip()
        except Exception as error:  # a wheel for another PyTorch fails in ways of its own
            why = f"{type(error).__name__}: {error}"
    return None, "absent: " + why.splitlines()[0]


def captured(call, launches, sets):
    graph = torch.cuda.CUDAGraph()
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        call(0)
    torch.cuda.current_stream().wait_stream(aside)
    with torch.cuda.graph(graph):
        for i in range(launches):
            call(i % sets)
    return graph


def once(run):
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) * 1e3


def timed(call, sets, limit_us=math.inf):
    """Percentiles of a launch in microseconds; None for what takes more than the limit at once."""
    call(0)
    torch.cuda.synchronize()
    guess = min(once(lambda: call(i % sets)) for i in range(2))
    if guess > limit_us:
        return None
    launches = max(4, sets * (int(1000 / guess) // sets + 1))
    graph = captured(call, min(launches, 256), sets)
    launches = min(launches, 256)
    for _ in range(3):
        graph.replay()
    torch.cuda.synchronize()
    began, us = time.time(), []
    while len(us) < MOST_REPLAYS and (len(us) < LEAST_REPLAYS or time.time() - began < SECONDS):
        us.append(once(graph.replay) / launches)
    us.sort()
    at = lambda share: us[max(0, math.ceil(share * len(us)) - 1)]
    return {"us": round(at(0.5), 4), "p10": round(at(0.1), 4), "p90": round(at(0.9), 4), "replays": len(us),
            "launches": launches, "sets": sets, "began": round(began, 3), "ended": round(time.time(), 3)}


class Shape:
    """K and V of some sets, [B][G][T][D], out of one array, and the queries."""

    def __init__(self, arena, shape):
        self.heads, self.kv_heads, self.dim, self.batch, self.positions, self.queries = shape
        self.group = self.heads // self.kv_heads
        n = self.batch * self.kv_heads * self.positions * self.dim
        l2 = getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 50 << 20)
        self.bytes = 4 * n
        self.sets = min(64, max(2, math.ceil(8 * l2 / self.bytes)), arena.numel() // (2 * n))
        part = lambda i: arena[i * n:(i + 1) * n]
        dims = (self.batch, self.kv_heads, self.positions, self.dim)
        self.k = [part(2 * i).view(dims) for i in range(self.sets)]
        self.v = [part(2 * i + 1).view(dims) for i in range(self.sets)]
        # The same numbers as FlashAttention has them, [B][T][G][D].
        dims = (self.batch, self.positions, self.kv_heads, self.dim)
        self.k_rows = [part(2 * i).view(dims) for i in range(self.sets)]
        self.v_rows = [part(2 * i + 1).view(dims) for i in range(self.sets)]
        random = lambda *dims: torch.randn(*dims, device="cuda", dtype=torch.bfloat16)
        self.q = random(self.batch, self.heads, self.queries, self.dim)
        self.q_folded = random(self.batch, self.kv_heads, self.group * self.queries, self.dim)
        self.q_rows = random(self.batch, self.queries, self.heads, self.dim)
        self.lengths = torch.full((self.batch,), self.positions, device="cuda", dtype=torch.int32)


def sdpa(shape, backend, folded):
    q = shape.q_folded if folded else shape.q

    def call(i):
        with sdpa_kernel(backend):
            F.scaled_dot_product_attention(q, shape.k[i], shape.v[i], enable_gqa=not folded)
    return call


def split(shape, parts):
    """Flash attention on parts of the positions, each a head of its own, and their sum by lengths."""
    heads, rows = shape.kv_heads, shape.q_folded.shape[2]
    dims = (shape.batch, heads * parts, shape.positions // parts, shape.dim)
    q = shape.q_folded.repeat_interleave(parts, dim=1).contiguous()
    flash = torch.ops.aten._scaled_dot_product_flash_attention

    def call(i):
        out, lse = flash(q, shape.k[i].view(dims), shape.v[i].view(dims), 0.0, False)[:2]
        weight = torch.softmax(lse.view(shape.batch, heads, parts, rows), dim=2).unsqueeze(-1)
        return (out.view(shape.batch, heads, parts, rows, shape.dim) * weight).sum(2)
    return call


def flash3(shape, function, packed):
    def call(i):
        function(shape.q_rows, shape.k_rows[i], shape.v_rows[i], cache_seqlens=shape.lengths,
                 causal=shape.queries > 1, pack_gqa=packed)
    return call


def ways(shape, function):
    """Names and calls. Verification is timed folded and without a mask, which is no more work; so is a prefill."""
    backends = {"cuDNN": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION,
                "efficient": SDPBackend.EFFICIENT_ATTENTION}
    for name, backend in backends.items():
        if (shape.queries == 1 or shape.queries > 64) and name != "efficient" and shape.group > 1:
            yield name, lambda backend=backend: sdpa(shape, backend, False)
        yield name + " folded", lambda backend=backend: sdpa(shape, backend, True)
    if shape.batch * shape.kv_heads <= 64:
        yield "flash in 8 parts", lambda: split(shape, 8)
    if function is not None:
        yield "FA3", lambda: flash3(shape, function, None)
        yield "FA3 packed", lambda: flash3(shape, function, True)


def kept(path):
    """For each shape the ways that are worth a second look; None: all are."""
    if path is None:
        return None
    with open(path, encoding="utf-8") as file:
        rows = [row for row in map(json.loads, file) if row["kind"] == "baseline" and "us" in row]
    best = {}
    for row in rows:
        key = tuple(row[name] for name in NAMES)
        best[key] = min(best.get(key, math.inf), row["us"])
    return {(tuple(row[name] for name in NAMES), row["name"]) for row in rows
            if row["us"] < 1.3 * best[tuple(row[name] for name in NAMES)]}


def measure_shape(arena, key, function, keep, budget):
    shape = Shape(arena, key)
    if shape.sets == 0:
        say(kind="baseline", name="all", failed="the shape does not fit", **dict(zip(NAMES, key)))
        return
    best = math.inf
    for name, make in ways(shape, function):
        if keep is not None and (key, name) not in keep:
            continue
        row = {"kind": "baseline", "name": name, **dict(zip(NAMES, key)), "bytes": shape.bytes}
        if time.time() - started > budget:
            say(**row, failed="time: none was left")
            continue
        try:
            told = timed(make(), shape.sets, 4 * best + 1000)
        except Exception as error:  # what a backend does not take, it says in words of its own
            torch.cuda.synchronize()
            say(**row, failed=str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__)
            continue
        if told is None:
            say(**row, failed="more than four times as long as the best")
            continue
        best = min(best, told["us"])
        say(**row, **told)


def fill(arena):
    for i in range(0, arena.numel(), 1 << 28):
        arena[i:i + (1 << 28)].normal_()


def bandwidth(arena):
    """What PyTorch's own copy and fill make of the card, beside bench_cuda's limits."""
    half = arena.numel() // 2
    for name, call, moved in (("torch copy", lambda i: arena[:half].copy_(arena[half:2 * half]), 4 * half),
                              ("torch fill", lambda i: arena[:half].zero_(), 2 * half)):
        told = timed(call, 1)
        say(kind="limit", name=name, bytes=moved, gb_per_s=round(moved / told["us"] / 1e3, 1), **told)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--budget", type=float, default=60)
    arguments.add_argument("--like", metavar="FILE")
    arguments.add_argument("--many", action="store_true", help="shapes of several queries alone")
    options = arguments.parse_args()
    warnings.filterwarnings("ignore")
    if not torch.cuda.is_available():
        sys.exit("baseline.py: PyTorch sees no CUDA device here")
    function, what = fa3()
    say(kind="peers", torch=torch.__version__, cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version(),
        fa3=what, card=torch.cuda.get_device_name())
    free, _ = torch.cuda.mem_get_info()
    arena = torch.empty(min(int(18e9), int(0.8 * free)) // 2, dtype=torch.bfloat16, device="cuda")
    fill(arena)
    bandwidth(arena)
    fill(arena)
    keep = kept(options.like)
    with torch.inference_mode():
        for key in SHAPES:
            if options.many and key[-1] == 1:
                continue
            measure_shape(arena, key, function, keep, options.budget)


main()
