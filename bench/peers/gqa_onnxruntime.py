#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A server for bench/peers/attention.c: times ONNX Runtime's GroupQueryAttention with a quantised cache. Kinds: 8
and 4, bits a value; a scale for every head and coordinate, measured on the cache's own keys and values.

A pass rounds the newest position into the cache, which is bound as input and output at once, and attends to all.
"""
import time

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from serve import serve


def model(bits, heads, kv_heads, dim, positions):
    cache = (TensorProto.INT8 if bits == 8 else TensorProto.UINT8, [1, kv_heads, positions, dim * bits // 8])
    new = (TensorProto.FLOAT, [1, 1, kv_heads * dim])
    rows = (TensorProto.FLOAT, [1, 1, heads * dim])
    count, scales = (TensorProto.INT32, [1]), (TensorProto.FLOAT, [kv_heads * dim])
    inputs = {"q": rows, "k": new, "v": new, "past_k": cache, "past_v": cache, "last": count, "total": count,
              "k_scale": scales, "v_scale": scales}
    outputs = {"out": rows, "present_k": cache, "present_v": cache}
    node = helper.make_node(
        "GroupQueryAttention",
        ["q", "k", "v", "past_k", "past_v", "last", "total", "", "", "", "", "", "k_scale", "v_scale"],
        list(outputs), domain="com.microsoft", num_heads=heads, kv_num_heads=kv_heads, kv_cache_bit_width=bits,
        k_quant_type="PER_CHANNEL", v_quant_type="PER_CHANNEL")
    tensors = [[helper.make_tensor_value_info(name, *what) for name, what in side.items()] for side in (inputs, outputs)]
    graph = helper.make_graph([node], "step", *tensors)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def rounded(x, bits):
    """Codes of [G][T][D] and scales [G D]."""
    most = 2 ** (bits - 1) - 1
    scales = np.abs(x).max(axis=1, keepdims=True) / np.float32(most)
    codes = np.rint(x / scales).astype(np.int8)
    if bits == 4:
        codes = (codes + 8).astype(np.uint8)
        codes = codes[..., 0::2] | codes[..., 1::2] << 4
    return codes[None], scales.reshape(-1)


class Step:
    def __init__(self, bits, q, k, v, threads):
        (heads, dim), (kv_heads, positions, _) = q.shape, k.shape
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(model(bits, heads, kv_heads, dim, positions), options,
                                                    providers=["CPUExecutionProvider"])
        (k_codes, k_scale), (v_codes, v_scale) = rounded(k, bits), rounded(v, bits)
        last = np.array([positions - 1], np.int32)
        self.binding = self.session.io_binding()
        self.held = {name: onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(x)) for name, x in {
            "q": q.reshape(1, 1, -1), "k": k[:, -1].reshape(1, 1, -1), "v": v[:, -1].reshape(1, 1, -1),
            "past_k": k_codes, "past_v": v_codes, "last": last, "total": last + 1, "k_scale": k_scale,
            "v_scale": v_scale}.items()}
        for name, value in self.held.items():
            self.binding.bind_ortvalue_input(name, value)
        self.out = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((1, 1, heads * dim), np.float32))
        self.binding.bind_ortvalue_output("out", self.out)
        self.binding.bind_ortvalue_output("present_k", self.held["past_k"])
        self.binding.bind_ortvalue_output("present_v", self.held["past_v"])


class Scene:
    note = ""

    def __init__(self, q, k, v, heads, kv_heads, dim, positions, threads):
        q, k, v = (np.frombuffer(x, np.float32) for x in (q, k, v))
        k, v = (x.reshape(kv_heads, positions, dim) for x in (k, v))
        self.steps = {str(bits): Step(bits, q.reshape(heads, dim), k, v, threads) for bits in (8, 4)}

    def run(self, kind, passes):
        step = self.steps[kind]
        begun = time.perf_counter()
        for _ in range(passes):
            step.session.run_with_iobinding(step.binding)
        return time.perf_counter() - begun

    def result(self, kind):
        return self.steps[kind].out.numpy().tobytes()


serve(f"ONNX Runtime {onnxruntime.__version__}", Scene)
