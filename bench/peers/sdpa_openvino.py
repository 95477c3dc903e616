#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A server for bench/peers/attention.c: times OpenVINO's attention on the CPU with a cache that it keeps itself.
Kinds: u8, its default; u4; turbo, its TurboQuant of 4 bits.

The model is what its CPU plugin makes one operation of: keys and values go behind those of a state, and query heads
share the heads of that. Only passes of as many queries fill such a cache (TurboQuant's takes none from outside), and
a timed step leaves one position more.
"""
import time

import numpy as np
import openvino
import openvino.opset13 as op

from serve import serve

KINDS = {
    "u8": {"KEY_CACHE_PRECISION": "u8", "VALUE_CACHE_PRECISION": "u8"},
    "u4": {"KEY_CACHE_PRECISION": "u4", "VALUE_CACHE_PRECISION": "u4"},
    "turbo": {"KEY_CACHE_PRECISION": "u4", "VALUE_CACHE_PRECISION": "u4", "KEY_CACHE_QUANT_ALG": "TURBO",
              "VALUE_CACHE_QUANT_ALG": "TURBO"},
}

CHUNK = 128


def model(heads, kv_heads, dim):
    inputs = {"q": op.parameter([1, heads, -1, dim], np.float32), "k": op.parameter([1, kv_heads, -1, dim], np.float32),
              "v": op.parameter([1, kv_heads, -1, dim], np.float32), "beam": op.parameter([-1], np.int32)}
    for name, node in inputs.items():
        node.output(0).set_names({name})
    assigned = []

    def kept(name):
        none = op.constant(np.zeros((1, kv_heads, 0, dim), np.float32))
        past = op.gather(op.read_value(none, name, np.float32, [-1, kv_heads, -1, dim]), inputs["beam"], op.constant(0))
        together = op.concat([past, inputs[name]], 2)
        assigned.append(op.assign(together, name))
        shared = op.multiply(op.unsqueeze(together, op.constant([2])),
                             op.constant(np.ones((1, 1, heads // kv_heads, 1, 1), np.float32)))
        return op.reshape(shared, op.constant([0, heads, -1, dim]), True)

    out = op.scaled_dot_product_attention(inputs["q"], kept("k"), kept("v"))
    return openvino.Model([op.result(out)], assigned, list(inputs.values()), "step")


class Step:
    def __init__(self, core, kind, q, k, v, threads):
        (heads, dim), (kv_heads, positions, _) = q.shape, k.shape
        compiled = core.compile_model(model(heads, kv_heads, dim), "CPU", {
            "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", **KINDS[kind]})
        if any(node.get_rt_info()["layerType"] == "Concat" for node in compiled.get_runtime_model().get_ops()):
            raise SystemExit(f"sdpa_openvino.py: {kind}: the cache did not become part of the attention")
        self.request = compiled.create_infer_request()
        self.request.set_tensor("beam", openvino.Tensor(np.zeros(1, np.int32)))
        none = np.zeros((1, heads, CHUNK, dim), np.float32)
        for at in range(0, positions - 1, CHUNK):
            end = min(at + CHUNK, positions - 1)
            self.take(none[:, :, :end - at], k[None, :, at:end], v[None, :, at:end])
            self.request.infer()
        self.take(q[None, :, None], k[None, :, -1:], v[None, :, -1:])
        self.first = None

    def take(self, *qkv):
        for name, x in zip("qkv", qkv):
            self.request.set_tensor(name, openvino.Tensor(np.ascontiguousarray(x)))

    def run(self, passes):
        begun = time.perf_counter()
        for _ in range(passes):
            self.request.infer()
        taken = time.perf_counter() - begun
        if self.first is None:
            self.first = self.request.get_output_tensor(0).data.copy()
        return taken


class Scene:
    note = ""

    def __init__(self, q, k, v, heads, kv_heads, dim, positions, threads):
        q, k, v = (np.frombuffer(x, np.float32) for x in (q, k, v))
        k, v = (x.reshape(kv_heads, positions, dim) for x in (k, v))
        core = openvino.Core()
        self.steps = {kind: Step(core, kind, q.reshape(heads, dim), k, v, threads) for kind in KINDS}

    def run(self, kind, passes):
        return self.steps[kind].run(passes)

    def result(self, kind):
        """Of the first pass: later ones see the newest position more than once."""
        return self.steps[kind].first.tobytes()


serve(f"OpenVINO {openvino.__version__.split('-')[0]}", Scene)
