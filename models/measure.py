#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures a model file on the held-out text, as JSON on standard output.

  models/measure.py models/kjv-swa.safetensors --text models/kjv-heldout.txt
        [--device cuda] [--windows N] [--fixture FILE]

Bits a byte at two contexts; per layer and KV head the length of the mean key over the RMS length of keys;
bits a byte and mean KL with keys quantised to 4 bits (rotated, one norm, Lloyd-Max), plain and centred.
--fixture writes tokens and float64 logits for the C forward pass. A simulation in PyTorch: `tqkv` measures
the real thing.
"""
import argparse
import json
import math
import pathlib

import torch
import torch.nn.functional as F

import model as lm

FIXTURE_TOKENS = 400  # past the window of 256
FIXTURE_POSITIONS = [0, 1, 2, 3, 254, 255, 256, 257] + list(range(376, 400))


def codebook(bits):
    """Lloyd-Max for N(0,1) by plain iteration; good to many more digits than a simulation needs."""
    def density(x):
        return torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)

    c = torch.linspace(-3, 3, 2 ** bits, dtype=torch.float64)
    for _ in range(3000):
        edges = torch.cat((torch.tensor([-40.0]).double(), (c[1:] + c[:-1]) / 2, torch.tensor([40.0]).double()))
        mass = 0.5 * (torch.erf(edges[1:] / math.sqrt(2)) - torch.erf(edges[:-1] / math.sqrt(2)))
        c = (density(edges[:-1]) - density(edges[1:])) / mass
    return c


def rotation(n):
    """Random signs, then the orthonormal Hadamard matrix."""
    h = torch.ones(1, 1, dtype=torch.float64)
    while h.shape[0] < n:
        h = torch.cat((torch.cat((h, h), 1), torch.cat((h, -h), 1)), 0)
    signs = torch.randint(0, 2, (n,), generator=torch.Generator().manual_seed(1)) * 2.0 - 1.0
    return signs[:, None].double() * h / math.sqrt(n)


class Quantiser:
    def __init__(self, bits, head_dim, like):
        self.c = codebook(bits).to(like)
        self.r = rotation(head_dim).to(like)

    def __call__(self, x, centre):
        y = (x - centre) @ self.r
        norm = y.norm(dim=-1, keepdim=True).clamp_min(1e-30)
        unit = y / norm * math.sqrt(x.shape[-1])
        code = torch.bucketize(unit, (self.c[1:] + self.c[:-1]) / 2)
        return (self.c[code] * norm / math.sqrt(x.shape[-1])) @ self.r.T + centre


def set_hooks(model, make):
    for block in model.layers:
        block.attention.on_cache = make(block.attention.layer) if make else None


@torch.no_grad()
def key_shape(model, rows):
    """Per layer and KV head: |mean key| / RMS |key| over all positions, as cached (after RoPE)."""
    seen = []

    def make(_):
        def look(k, v):
            mean = k.mean(dim=(0, 2)).norm(dim=-1)
            seen.append((mean / k.pow(2).sum(-1).mean(dim=(0, 2)).sqrt()).tolist())
            return k, v
        return look

    set_hooks(model, make)
    model(rows)
    set_hooks(model, None)
    return [[round(x, 4) for x in layer] for layer in seen]


@torch.no_grad()
def compare(model, rows, make):
    """Bits a byte, mean KL in bits from the plain model, and how often the likeliest byte is the same."""
    bits = kl = same = 0.0
    for row in rows.split(4):
        plain = model(row[:, :-1]).double().log_softmax(-1)
        set_hooks(model, make)
        other = model(row[:, :-1]).double().log_softmax(-1)
        set_hooks(model, None)
        bits += F.nll_loss(other.flatten(0, 1), row[:, 1:].flatten(), reduction="sum").item()
        kl += (plain.exp() * (plain - other)).sum().item()
        same += (plain.argmax(-1) == other.argmax(-1)).sum().item()
    n = rows[:, 1:].numel()
    return {"bits": round(bits / n / math.log(2), 4), "kl_bits": round(kl / n / math.log(2), 6),
            "same_top": round(same / n, 4)}


def quantised(model, rows, bits=4, learn=256):
    like = next(model.parameters()).detach()
    quantisers = {layer: Quantiser(bits, layer.head_dim, like) for layer in set(model.config.layers)}

    def keys(centred):
        def make(layer):
            def replace(k, v):
                centre = k[:, :, :learn].mean(dim=2, keepdim=True) if centred else torch.zeros_like(k[:, :, :1])
                return quantisers[layer](k, centre), v
            return replace
        return make

    return {"float": compare(model, rows, None), f"keys at {bits} bits": compare(model, rows, keys(False)),
            f"keys at {bits} bits less the mean of the first {learn}": compare(model, rows, keys(True))}


@torch.no_grad()
def write_fixture(path, source, text):
    """Tokens, positions, and the logits there in float64 arithmetic, rounded to float32 at the end."""
    tokens = text[:FIXTURE_TOKENS]
    logits = lm.load(source, torch.float64)(tokens[None].cpu())[0, FIXTURE_POSITIONS]
    single = lm.load(source)(tokens[None].cpu())[0, FIXTURE_POSITIONS]
    lm.write_safetensors(path, {"logits": logits.float(),
                                "positions": torch.tensor(FIXTURE_POSITIONS, dtype=torch.int32),
                                "tokens": tokens.to(torch.uint8)},
                         {"tqkv.fixture.model": pathlib.Path(source).name,
                          "tqkv.fixture.model_sha256": lm.sha256(source)})
    return {"largest logit": round(logits.abs().max().item(), 3),
            "float32 against float64": (single - logits).abs().max().item()}


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("file")
    p.add_argument("--text", required=True, help="the held-out text")
    p.add_argument("--device", default="cpu")
    p.add_argument("--windows", type=int, default=0, help="measure on so many windows; 0: all")
    p.add_argument("--fixture", help="write this file")
    options = p.parse_args()
    net = lm.load(options.file).to(options.device)
    text = lm.read_text(options.text)
    out = {"file": pathlib.Path(options.file).name, "sha256": lm.sha256(options.file)}
    if options.fixture:
        out["fixture"] = write_fixture(options.fixture, options.file, text)
    text = text.to(options.device)
    for context in (1024, 4096):
        out[f"bits a byte at {context}"] = round(
            lm.bits_per_byte(net, text, context, batch=8192 // context, limit=options.windows), 4)
    n = min(options.windows or 64, (len(text) - 1) // 1024)
    rows = torch.stack([text[1024 * i:1024 * i + 1025] for i in range(n)])
    out["key mean over RMS"] = key_shape(net, rows[:, :-1])
    out["quantised"] = quantised(net, rows)
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
