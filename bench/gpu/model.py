#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Times a decode step of a Llama-shaped model in transformers on an NVIDIA card: TqCache beside DynamicCache with SDPA.

Usage: model.py [--layers N] [--batch N] [--positions N] [--steps N] [--json FILE]

Random weights in bfloat16, 32/8 heads, D = 128. Prompts go through TqCache in chunks, as an engine's do; DynamicCache is
given as many keys and values. Then steps of all caches take turns. Time in attention is that of its kernels in one step,
by torch.profiler. Wants torch with CUDA, transformers 5.15 and libtqkv with CUDA in the Python that runs it.
"""
import argparse
import json
import re
import statistics
import sys
import time

import torch
import transformers
from libtqkv.transformers import TqCache, enable

sys.dont_write_bytecode = True
import report  # noqa: E402

KINDS = ["default", "tq6/tq4", "tq4", "tq8"]
DENSE, CHUNK, WARM_UP = "DynamicCache", 512, 5
OURS = re.compile(r"\b(prepare|tq_attend|tq_prefill|merge)\b")
SDPA = re.compile(r"flash|fmha|cudnn.*(sdpa|attn)|efficient_attention", re.IGNORECASE)


def say(text):
    print(text, file=sys.stderr, flush=True)


def model_of(layers, positions):
    config = transformers.LlamaConfig(
        vocab_size=32000, hidden_size=4096, intermediate_size=14336, num_hidden_layers=layers, num_attention_heads=32,
        num_key_value_heads=8, head_dim=128, max_position_embeddings=positions + 4096, pad_token_id=0, eos_token_id=None)
    torch.manual_seed(1)
    with torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        model = transformers.LlamaForCausalLM(config).eval()
        torch.set_default_dtype(torch.float32)
    enable(model)
    return model


def filled(model, kind, batch, positions):
    """A cache with so many positions, and how long a prompt took to get there, in seconds."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    if kind == DENSE:
        cache = transformers.DynamicCache(config=model.config)
        for layer in range(model.config.num_hidden_layers):
            cache.update(*(torch.randn(batch, 8, positions, 128, device="cuda", dtype=torch.bfloat16) for _ in "kv"), layer)
        return cache, None
    cache = TqCache.for_model(model, kind)
    for at in range(0, positions, CHUNK):
        ids = torch.randint(0, 32000, (batch, min(CHUNK, positions - at)), device="cuda")
        model(ids, past_key_values=cache, logits_to_keep=1)
    torch.cuda.synchronize()
    return cache, time.perf_counter() - began


def step(model, cache, ids):
    torch.cuda.synchronize()
    began = time.perf_counter()
    model(ids, past_key_values=cache)
    torch.cuda.synchronize()
    return time.perf_counter() - began


def in_attention(model, cache, ids, pattern):
    """Microseconds a layer in which kernels of that name run, which may overlap, and these names."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA], acc_events=True) as profile:
        step(model, cache, ids)
    found = sorted((e.time_range.start, e.time_range.end, e.name) for e in profile.events() if pattern.search(e.name))
    busy, until = 0, 0
    for start, end, _ in found:
        busy, until = busy + max(0, end - max(start, until)), max(until, end)
    return busy / model.config.num_hidden_layers, sorted({name[:60] for _, _, name in found})


def bytes_of(cache):
    return sum(getattr(layer, "nbytes_used", None) or layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)


def measure(options):
    model = model_of(options.layers, options.positions)
    ids = torch.ones(options.batch, 1, dtype=torch.long, device="cuda")
    caches, seconds, rows = {}, {}, []
    with torch.inference_mode():
        for kind in [DENSE, *KINDS]:
            caches[kind], prompt = filled(model, kind, options.batch, options.positions)
            seconds[kind] = []
            rows.append({"cache": kind, "prompt_tokens_per_s": prompt and options.batch * options.positions / prompt})
            say(f"model.py: {kind} is filled")
        for n in range(WARM_UP + options.steps):
            for kind, cache in caches.items():
                took = step(model, cache, ids)
                if n >= WARM_UP:
                    seconds[kind].append(took)
        for row in rows:
            kind = row["cache"]
            low, median, high = statistics.quantiles(seconds[kind], n=4)
            us, names = in_attention(model, caches[kind], ids, SDPA if kind == DENSE else OURS)
            row.update(step_ms=1e3 * median, spread=(high - low) / 2 / median, attention_us=us, kernels=names,
                       bytes=bytes_of(caches[kind]), layers=options.layers, batch=options.batch,
                       positions=options.positions)
    return rows


def table(rows):
    dense = rows[0]
    cells = []
    for r in rows:
        prompt = r["prompt_tokens_per_s"]
        cells.append([r["cache"], f"{r['step_ms']:.2f} ±{100 * r['spread']:.0f} %", f"{dense['step_ms'] / r['step_ms']:.2f}",
                      f"{r['attention_us']:.1f}",
                      f"{dense['attention_us'] / r['attention_us']:.2f}" if r["attention_us"] else "-",
                      f"{r['bytes'] / 2 ** 30:.2f}", f"{prompt:,.0f}" if prompt else "-"])
    best = rows[1]
    return report.markdown(["cache", "step, ms", "times as fast", "attention of a layer, us", "times as fast", "GiB",
                            "prompt, tokens/s"], cells) + (
        f"{torch.cuda.get_device_name(0)}, {dense['layers']} layers, batch {dense['batch']}, {dense['positions']:,} "
        f"positions: a step with the default cache takes {best['step_ms'] / dense['step_ms']:.2f} of DynamicCache's time "
        f"and {best['bytes'] / dense['bytes']:.2f} of its bytes.")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("layers", 8), ("batch", 8), ("positions", 32768), ("steps", 30)):
        arguments.add_argument("--" + name, type=int, default=value, metavar="N")
    arguments.add_argument("--json", metavar="FILE", help="write all figures there")
    options = arguments.parse_args()
    if not torch.cuda.is_available():
        sys.exit("model.py: there is no CUDA device")
    rows = measure(options)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)
    print(table(rows))


main()
