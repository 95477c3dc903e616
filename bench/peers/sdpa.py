#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A server for bench/peers/attention.c: times PyTorch's scaled_dot_product_attention on request.

Reads commands on standard input, and answers each on standard output:

    scene H G D T THREADS   then q [H][D], k [G][T][D], v likewise as float32: a line saying which way of
                            sharing KV heads is the fastest for each type
    run TYPE PASSES         TYPE is float32 or bfloat16: the seconds that so many passes took
    result TYPE             [H][D] float32, what the last pass gave

The ways: 'gqa', enable_gqa=True; 'repeat', keys and values repeated for each query head in the call, as
models do; 'rows', the query heads of a KV head as its query rows, which for a decode step is the same.
"""
import sys
import time
import warnings

warnings.filterwarnings("ignore")  # it misses NumPy, and we do not
import torch  # pylint: disable=wrong-import-position
from torch.nn.functional import scaled_dot_product_attention as sdpa  # pylint: disable=wrong-import-position


def tensor(stream, *shape):
    n = 4 * torch.Size(shape).numel()
    data = bytearray(n)
    view, at = memoryview(data), 0
    while at < n:
        got = stream.readinto(view[at:])
        if not got:
            sys.exit("sdpa.py: the data end early")
        at += got
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
    def __init__(self, stream, heads, kv_heads, dim, positions, threads):
        torch.set_num_threads(threads)
        q = tensor(stream, heads, 1, dim)
        k = tensor(stream, kv_heads, positions, dim)
        v = tensor(stream, kv_heads, positions, dim)
        self.inputs = {t: [x.to(getattr(torch, t)) for x in (q, k, v)] for t in ("float32", "bfloat16")}
        self.best = {t: self.choose(t) for t in self.inputs}
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


def serve(stream, answers):
    def say(text):
        answers.write(text.encode() + b"\n")

    say(f"PyTorch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    answers.flush()
    scene = None
    for line in iter(stream.readline, b""):
        command, *words = line.decode().split()
        if command == "scene":
            scene = None  # its memory first
            scene = Scene(stream, *map(int, words))
            say(", ".join(f"{dtype} by {way}" for dtype, way in scene.best.items()))
        elif command == "run":
            say(repr(scene.run(words[0], int(words[1]))))
        elif command == "result":
            answers.write(bytes(scene.out[words[0]].float().contiguous().untyped_storage()))
        else:
            sys.exit(f"sdpa.py: what is '{command}'?")
        answers.flush()


with torch.inference_mode():
    serve(sys.stdin.buffer, sys.stdout.buffer)
