# SPDX-License-Identifier: MIT
"""The forward pass of the small language models, and their files (models/README.md is the contract).

Written to be read beside the C forward pass: the same names, the same order of operations.
"""
import dataclasses
import hashlib
import json
import math
import pathlib
import struct

import torch
from torch import nn
import torch.nn.functional as F

PREFIX = "tqkv.model."


@dataclasses.dataclass(frozen=True)
class Layer:
    n_heads: int
    n_kv_heads: int
    head_dim: int
    window: int  # 0: all positions; W: the query's own and the W - 1 before it
    rope_base: float

    @property
    def scale(self):
        return 1.0 / math.sqrt(self.head_dim)


@dataclasses.dataclass(frozen=True)
class Config:
    name: str
    d: int
    d_ff: int
    qk_norm: bool
    qkv_bias: bool
    layers: tuple
    vocab: int = 256
    norm_eps: float = 1e-6


LOCAL = Layer(n_heads=4, n_kv_heads=2, head_dim=256, window=256, rope_base=1e4)
GLOBAL = Layer(n_heads=2, n_kv_heads=1, head_dim=512, window=0, rope_base=1e5)
BIASED = Layer(n_heads=8, n_kv_heads=2, head_dim=128, window=0, rope_base=1e6)
CONFIGS = {c.name: c for c in (
    Config("kjv-swa", d=256, d_ff=512, qk_norm=True, qkv_bias=False, layers=(LOCAL, LOCAL, LOCAL, GLOBAL)),
    Config("kjv-bias", d=256, d_ff=640, qk_norm=False, qkv_bias=True, layers=(BIASED,) * 4),
)}


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight."""

    def __init__(self, n, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n))
        self.eps = eps

    def forward(self, x):
        wide = x if x.dtype == torch.float64 else x.float()
        return wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rotary(n, layer, device, dtype):
    """cos and sin [n][head_dim / 2] of position * base^(-2 i / head_dim), the angle taken in float64."""
    i = torch.arange(layer.head_dim // 2, device=device, dtype=torch.float64)
    angle = torch.outer(torch.arange(n, device=device, dtype=torch.float64),
                        layer.rope_base ** (-2.0 * i / layer.head_dim))
    return angle.cos().to(dtype), angle.sin().to(dtype)


def rotate(x, cos, sin):
    """RoPE: coordinate i of the first half of a head is paired with coordinate i of the second half."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def visible(n, window, device):
    """[n][n] bool: may the query of a row see the key of a column?"""
    back = torch.arange(n, device=device)[:, None] - torch.arange(n, device=device)[None, :]
    return (back >= 0) & (back < window) if window else back >= 0


def attend(q, k, v, layer, mask):
    """[B][H][T][D] each; PyTorch's fused kernel where there is one, written out elsewhere."""
    if hasattr(F, "scaled_dot_product_attention"):  # its own scale is 1 / sqrt(head_dim), as here
        if layer.window and layer.window < q.shape[2]:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    scores = (q @ k.transpose(-1, -2)) * layer.scale
    return scores.masked_fill(~mask, float("-inf")).softmax(-1) @ v


class Attention(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        self.layer = layer
        q, kv = layer.n_heads * layer.head_dim, layer.n_kv_heads * layer.head_dim
        self.q = nn.Linear(config.d, q, bias=config.qkv_bias)
        self.k = nn.Linear(config.d, kv, bias=config.qkv_bias)
        self.v = nn.Linear(config.d, kv, bias=config.qkv_bias)
        self.o = nn.Linear(q, config.d, bias=False)
        self.q_norm = RMSNorm(layer.head_dim, config.norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(layer.head_dim, config.norm_eps) if config.qk_norm else None
        self.on_cache = None  # measure.py: sees what would be cached, [B][G][T][D], and may replace it

    def heads(self, x, n):
        return x.view(x.shape[0], x.shape[1], n, self.layer.head_dim).transpose(1, 2)

    def forward(self, x, mask, cos, sin):
        layer = self.layer
        q, k = self.heads(self.q(x), layer.n_heads), self.heads(self.k(x), layer.n_kv_heads)
        v = self.heads(self.v(x), layer.n_kv_heads)
        if self.q_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        if self.on_cache is not None:
            k, v = self.on_cache(k, v)
        group = layer.n_heads // layer.n_kv_heads
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        y = attend(q, k, v, layer, mask)
        return self.o(y.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1))


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate = nn.Linear(config.d, config.d_ff, bias=False)
        self.up = nn.Linear(config.d, config.d_ff, bias=False)
        self.down = nn.Linear(config.d_ff, config.d, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    def __init__(self, config, layer, dropout):
        super().__init__()
        self.attention_norm = RMSNorm(config.d, config.norm_eps)
        self.attention = Attention(config, layer)
        self.mlp_norm = RMSNorm(config.d, config.norm_eps)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, mask, cos, sin):
        x = x + self.dropout(self.attention(self.attention_norm(x), mask, cos, sin))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class Model(nn.Module):
    def __init__(self, config, dropout=0.0):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab, config.d)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Block(config, layer, dropout) for layer in config.layers)
        self.norm = RMSNorm(config.d, config.norm_eps)
        self.output = nn.Linear(config.d, config.vocab, bias=False)
        self.tables = {}

    def tables_for(self, n, layer, device, dtype):
        key = n, layer, device, dtype
        if key not in self.tables:
            self.tables[key] = visible(n, layer.window, device), *rotary(n, layer, device, dtype)
        return self.tables[key]

    def forward(self, tokens):
        """tokens [B][T] -> logits [B][T][vocab]; the logits at t are of the byte after t."""
        x = self.dropout(self.embedding(tokens))
        for block in self.layers:
            x = block(x, *self.tables_for(tokens.shape[1], block.attention.layer, x.device, x.dtype))
        return self.output(self.norm(x))


# ---- files ---------------------------------------------------------------------------------------

TYPES = {torch.bfloat16: "BF16", torch.float32: "F32", torch.int32: "I32", torch.uint8: "U8"}


def write_safetensors(path, tensors, metadata):
    """Tensors in the given order, data from a multiple of 64 bytes on."""
    header, offset = {"__metadata__": {k: str(v) for k, v in metadata.items()}}, 0
    for name, t in tensors.items():
        size = t.numel() * t.element_size()
        header[name] = {"dtype": TYPES[t.dtype], "shape": list(t.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % 64)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for t in tensors.values():
            t = t.detach().cpu().contiguous()
            out.write((t.view(torch.int16) if t.dtype == torch.bfloat16 else t).numpy().tobytes())


def read_safetensors(path):
    data = pathlib.Path(path).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + size])
    metadata, types = header.pop("__metadata__"), {name: t for t, name in TYPES.items()}
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + size + at for at in entry["data_offsets"])
        tensors[name] = torch.frombuffer(bytearray(data[begin:end]), dtype=types[entry["dtype"]]).view(entry["shape"])
    return tensors, metadata


def describe(config):
    """The metadata of a model: everything that its shape does not tell. Lists are by layer."""
    by_layer = {field: ",".join(f"{getattr(layer, field):g}" for layer in config.layers)
                for field in ("n_heads", "n_kv_heads", "head_dim", "window", "rope_base")}
    values = {"version": 1, "name": config.name, "vocab": config.vocab, "d": config.d, "d_ff": config.d_ff,
              "n_layers": len(config.layers), **by_layer,
              "attention_scale": ",".join(repr(layer.scale) for layer in config.layers),
              "softcap": 0, "norm_eps": config.norm_eps, "qk_norm": int(config.qk_norm),
              "qkv_bias": int(config.qkv_bias), "activation": "silu", "rope_pairing": "halves"}
    return {PREFIX + key: value for key, value in values.items()}


def save(path, model, notes):
    """notes: further metadata, such as where the weights come from."""
    tensors = {name: t.detach().to(torch.bfloat16) for name, t in model.named_parameters()}
    write_safetensors(path, tensors, {**describe(model.config), **{PREFIX + k: v for k, v in notes.items()}})


def load(path, dtype=torch.float32):
    """The model of a file, its weights widened from bfloat16."""
    tensors, metadata = read_safetensors(path)
    config = CONFIGS[metadata[PREFIX + "name"]]
    for key, value in describe(config).items():
        if metadata[key] != str(value):
            raise SystemExit(f"{path}: {key} is {metadata[key]}, this script's {config.name} has {value}")
    model = Model(config)
    model.load_state_dict(tensors)
    return model.to(dtype).eval()


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def read_text(path):
    return torch.frombuffer(bytearray(pathlib.Path(path).read_bytes()), dtype=torch.uint8).long()


@torch.no_grad()
def bits_per_byte(model, text, context, batch=8, limit=0):
    """Mean of -log2 p over whole windows: inputs s .. s+context-1, targets one further, s = 0, context, ..."""
    n = (len(text) - 1) // context
    starts = [w * context for w in range(min(n, limit) if limit else n)]
    total = 0.0
    for at in range(0, len(starts), batch):
        rows = torch.stack([text[s:s + context + 1] for s in starts[at:at + batch]])
        logits = model(rows[:, :-1])
        logits = logits if logits.dtype == torch.float64 else logits.float()
        total += F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="sum").item()
    return total / (len(starts) * context) / math.log(2.0)
