#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Trains one of the small language models and writes FOLDER/NAME.safetensors and FOLDER/NAME-curve.tsv.

  models/prepare-text FOLDER
  models/train.py kjv-swa --data FOLDER/kjv-train.txt --out FOLDER [--device cuda] [--steps N] ...

The last 5 % of the training text are not trained on: the checkpoint that predicts them best is kept. The
held-out text plays no part here; models/measure.py judges by it.
"""
import argparse
import math
import pathlib
import time

import torch
import torch.nn.functional as F

import model as lm


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("name", choices=lm.CONFIGS)
    p.add_argument("--data", required=True, help="the training text")
    p.add_argument("--out", required=True, help="folder for the weights and the curve")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--steps", type=int, default=2400)
    p.add_argument("--tokens", type=int, default=32768, help="bytes of a step")
    p.add_argument("--context", type=int, default=1024)
    p.add_argument("--long-context", type=int, default=4096, help="context of the last part of the steps")
    p.add_argument("--long-part", type=float, default=0.15, help="how large that part is")
    p.add_argument("--learning-rate", type=float, default=3e-3)
    p.add_argument("--bias-rate", type=float, default=10.0, help="learning rate of biases over that of weights")
    p.add_argument("--key-bias", type=float, default=120.0, help="initial length of a head's key bias; 0: none")
    p.add_argument("--dropout", type=float, default=0.2)
    p.add_argument("--weight-decay", type=float, default=0.1)
    p.add_argument("--every", type=int, default=100, help="steps between measurements")
    return p.parse_args()


def initialise(model, key_bias):
    """Normal weights of deviation 0.02, less where they add to the residual stream; biases zero."""
    residual = 0.02 / math.sqrt(2 * len(model.layers))
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.zeros_(p)
        elif p.dim() == 2:
            torch.nn.init.normal_(p, std=residual if name.endswith(("o.weight", "down.weight")) else 0.02)
    if model.config.qkv_bias and key_bias > 0:
        for block in model.layers:
            plant_key_bias(block.attention, key_bias)


@torch.no_grad()
def plant_key_bias(attention, length):
    """A few large channels per KV head, among the slowest quarter of RoPE's pairs: turned by at most a
    seventh of a radian in 4096 positions, they give all keys nearly the same large part, which the softmax
    cannot see. Models with a QKV bias are known for such channels."""
    half, pairs = attention.layer.head_dim // 2, 4
    for head in attention.k.bias.view(attention.layer.n_kv_heads, 2, half):
        slow = half - half // 4 + torch.randperm(half // 4)[:pairs]
        angle = 2 * math.pi * torch.rand(pairs)
        head[0, slow] = angle.cos() * length / math.sqrt(pairs)
        head[1, slow] = angle.sin() * length / math.sqrt(pairs)


def groups(model, options):
    """Weight decay is for matrices; biases have a learning rate of their own."""
    kinds = {"matrix": [], "gain": [], "bias": []}
    for name, p in model.named_parameters():
        kinds["bias" if name.endswith("bias") else "matrix" if p.dim() == 2 else "gain"].append(p)
    return [{"params": kinds["matrix"], "factor": 1.0, "weight_decay": options.weight_decay},
            {"params": kinds["gain"], "factor": 1.0, "weight_decay": 0.0},
            {"params": kinds["bias"], "factor": options.bias_rate, "weight_decay": 0.0}]


def learning_rate(step, options):
    """Linear warm-up over a twentieth of the steps, then half a cosine down to 2 %."""
    warm = max(1, options.steps // 20)
    if step < warm:
        return options.learning_rate * (step + 1) / warm
    done = (step - warm) / max(1, options.steps - warm)
    return options.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def windows(text, context, count):
    """Inputs and targets of `count` windows from anywhere in the text."""
    starts = torch.randint(len(text) - context, (count, 1), device=text.device)
    rows = text[starts + torch.arange(context + 1, device=text.device)]
    return rows[:, :-1], rows[:, 1:]


def train_step(model, optimizer, text, step, options, context):
    for group in optimizer.param_groups:
        group["lr"] = group["factor"] * learning_rate(step, options)
    inputs, targets = windows(text, context, max(1, options.tokens // context))
    with torch.autocast(text.device.type, dtype=torch.bfloat16, enabled=text.device.type == "cuda"):
        logits = model(inputs)
    loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.detach()


def train(model, text, validation, options, curve):
    """Leaves the best checkpoint of the long-context part in the model; returns its step and bits a byte."""
    optimizer = torch.optim.AdamW(groups(model, options), lr=options.learning_rate, betas=(0.9, 0.95))
    long_from = int(options.steps * (1 - options.long_part))
    best, best_step, kept, running, began = math.inf, 0, None, [], time.time()
    for step in range(options.steps):
        context = options.long_context if step >= long_from else options.context
        running.append(train_step(model, optimizer, text, step, options, context))
        done = step + 1
        if done % options.every and done != options.steps:
            continue
        loss, running = torch.stack(running).mean().item() / math.log(2.0), []
        model.eval()
        bits = lm.bits_per_byte(model, validation, options.context)
        model.train()
        print(f"{options.name} step {done} context {context} train {loss:.4f} validation {bits:.4f} "
              f"{time.time() - began:.0f} s", flush=True)
        curve.write(f"{done}\t{context}\t{loss:.4f}\t{bits:.4f}\n")
        if (done > long_from or done == options.steps) and bits < best:
            best, best_step = bits, done
            kept = {name: t.clone() for name, t in model.state_dict().items()}
    if kept is None:
        raise SystemExit(f"{options.name}: no finite loss was measured; try a lower --learning-rate")
    model.load_state_dict(kept)
    return best_step, best


def main():
    options = arguments()
    torch.manual_seed(options.seed)
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    text = lm.read_text(options.data)
    cut = int(len(text) * 0.95)
    if len(text) - cut <= options.context or cut <= options.long_context or options.steps < 1:
        raise SystemExit(f"{options.data}: {len(text)} bytes; 5 % of them must exceed the context of "
                         f"{options.context}, the rest {options.long_context}, and --steps be at least 1")
    net = lm.Model(lm.CONFIGS[options.name], options.dropout)
    initialise(net, options.key_bias)  # before it moves: the same start on every device
    net = net.to(options.device).train()
    with open(out / f"{options.name}-curve.tsv", "w", encoding="ascii") as curve:
        curve.write("# step\tcontext\ttraining bits/byte (with dropout)\tvalidation bits/byte\n")
        step, bits = train(net, text[:cut].to(options.device), text[cut:].to(options.device), options, curve)
    notes = {"trained_steps": options.steps, "kept_step": step, "validation_bits": f"{bits:.4f}",
             "seed": options.seed, "tokens_per_step": options.tokens, "context": options.context,
             "long_context": options.long_context, "dropout": options.dropout,
             "text_sha256": lm.sha256(options.data), "torch": torch.__version__}
    if net.config.qkv_bias:
        notes.update(key_bias_init=options.key_bias, bias_rate=options.bias_rate)
    path = out / f"{options.name}.safetensors"
    lm.save(path, net, notes)
    print(f"{path}: {path.stat().st_size} bytes, best at step {step}: {bits:.4f} bits a byte on validation")


if __name__ == "__main__":
    main()
