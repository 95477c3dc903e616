# SPDX-License-Identifier: MIT
"""From a GGUF file, or from Hugging Face's names, to a model file for lm/ (README.md, "The files")."""
import dataclasses
import math
import re

import numpy as np

import files
import tensors
import tokens

PREFIX = "tqkv.model."
NAMES = {  # GGUF's to ours; those of a layer begin with blk.N. and layers.N.
    "token_embd": "embedding", "output_norm": "norm", "output": "output",
    "attn_norm": "attention_norm", "ffn_norm": "mlp_norm",
    "attn_q": "attention.q", "attn_k": "attention.k", "attn_v": "attention.v", "attn_output": "attention.o",
    "attn_q_norm": "attention.q_norm", "attn_k_norm": "attention.k_norm",
    "post_attention_norm": "attention_post_norm", "post_ffw_norm": "mlp_post_norm",
    "ffn_gate": "mlp.gate", "ffn_up": "mlp.up", "ffn_down": "mlp.down",
}


@dataclasses.dataclass
class Shape:
    """What a model file says beside its weights; `describe` writes it down."""
    name: str
    vocab: int
    d: int
    d_ff: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    window: list  # by layer, as rope_base
    rope_base: list
    scale: float
    norm_eps: float
    context: int
    activation: str = "silu"
    qk_norm: bool = False
    qkv_bias: bool = False
    tied_output: bool = False
    post_norms: bool = False
    embedding_scale: str = "1"
    norm_offset: str = "0"


def short(value):
    """The shortest decimal of a float32."""
    return format(float(str(np.float32(value))), ".12g")


def describe(shape, notes):
    """The metadata of a model file. notes: tokens and provenance."""
    same = {field: ",".join([str(getattr(shape, field))] * shape.n_layers)
            for field in ("n_heads", "n_kv_heads", "head_dim")}
    values = {
        "version": 1, "name": shape.name, "vocab": shape.vocab, "d": shape.d, "d_ff": shape.d_ff,
        "n_layers": shape.n_layers, **same, "window": ",".join(map(str, shape.window)),
        "rope_base": ",".join(map(short, shape.rope_base)),
        "attention_scale": ",".join([repr(shape.scale)] * shape.n_layers), "softcap": 0,
        "norm_eps": short(shape.norm_eps), "norm_offset": shape.norm_offset, "qk_norm": int(shape.qk_norm),
        "qkv_bias": int(shape.qkv_bias), "post_norms": int(shape.post_norms), "activation": shape.activation,
        "rope_pairing": "halves", "embedding_scale": shape.embedding_scale, "tied_output": int(shape.tied_output),
        "context": shape.context, **notes}
    return {PREFIX + key: value for key, value in values.items()}


def our_name(gguf_name):
    layer, stem, kind = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)", gguf_name).groups()
    if stem not in NAMES:
        raise files.Refused(f"tensor {gguf_name}: this script knows no place for it")
    return (f"layers.{layer}." if layer else "") + f"{NAMES[stem]}.{kind}"


def to_f16(name, values):
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise files.Refused(f"tensor {name}: {np.abs(values).max()} does not fit into float16")
    return half


def entry(name, shape, make):
    """Matrices become F16, vectors stay F32; as tensors.write takes it."""
    if len(shape) == 1:
        return "F32", shape, lambda: make().astype(np.float32)
    return "F16", shape, lambda: to_f16(name, make())


def write(path, shape, weights, notes, table=None):
    """weights: GGUF's name to (shape, make)."""
    out = {our_name(name): entry(name, size, make) for name, (size, make) in weights.items()}
    if table is not None:
        text, offsets = table
        out["tokens.offsets"] = tensors.given(offsets)
        out["tokens.bytes"] = tensors.given(text)
    tensors.write(path, out, describe(shape, notes))


# ---- GGUF ----------------------------------------------------------------------------------------

def halves(values, n_heads):
    """Rows of Q or K from llama.cpp's order for llama, RoPE pairs as neighbours, to pairs as halves."""
    rows, columns = values.shape
    return values.reshape(n_heads, rows // n_heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def weight(tensor, arch, n_heads):
    import gguf
    values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    return halves(values, n_heads) if arch == "llama" and n_heads else values


def weights_of(reader, arch, heads):
    out = {}
    for t in reader.tensors:
        n = heads.get(re.sub(r"^blk\.\d+\.", "", t.name), 0)
        out[t.name] = tuple(map(int, t.shape[::-1])), lambda t=t, n=n: weight(t, arch, n)
    return out


def shape_of(reader, name, arch):
    def value(key, default=None):
        field = reader.fields.get(f"{arch}.{key}")
        return default if field is None else field.contents()

    if arch not in ("llama", "qwen2", "gemma3"):
        raise files.Refused(f"architecture {arch}: llama, qwen2 and gemma3 are known")
    if any(".rope.scaling." in key for key in reader.fields) or any("rope_freqs" in t.name for t in reader.tensors):
        raise files.Refused("RoPE is scaled in this model; lm/ cannot")
    n, d, heads = value("block_count"), value("embedding_length"), value("attention.head_count")
    dim, base = value("attention.key_length", d // heads), value("rope.freq_base")
    names = {re.sub(r"^blk\.\d+\.", "", t.name) for t in reader.tensors}
    gemma = arch == "gemma3"
    everywhere = [not gemma or i % 6 == 5 for i in range(n)]  # Gemma 3: the sixth of six sees all positions
    return Shape(
        name=name, vocab=len(reader.fields["tokenizer.ggml.tokens"].data), d=d, d_ff=value("feed_forward_length"),
        n_layers=n, n_heads=heads, n_kv_heads=value("attention.head_count_kv"), head_dim=dim,
        window=[0 if all_of_it else value("attention.sliding_window") for all_of_it in everywhere],
        rope_base=[base if all_of_it else 1e4 for all_of_it in everywhere], scale=1 / math.sqrt(dim),
        norm_eps=value("attention.layer_norm_rms_epsilon"), context=value("context_length"),
        activation="gelu_tanh" if gemma else "silu", qk_norm="attn_q_norm.weight" in names,
        qkv_bias="attn_q.bias" in names, tied_output="output.weight" not in names,
        post_norms="post_ffw_norm.weight" in names, embedding_scale=short(np.sqrt(np.float32(d))) if gemma else "1")


def from_gguf(path, gguf_path, model, gguf_sha256):
    """model: of fetched.py. Norm weights of Gemma have their 1 added in a GGUF file: norm_offset stays 0."""
    import gguf
    reader = gguf.GGUFReader(gguf_path)
    arch = reader.fields["general.architecture"].contents()
    shape = shape_of(reader, model.name, arch)
    vocabulary = tokens.Vocabulary(reader)
    notes = {"end_tokens": ",".join(str(vocabulary.ids[text]) for text in model.end_tokens),
             "source": model.source, "source_sha256": gguf_sha256, "licence": model.licence}
    if vocabulary.begin is not None:
        notes["begin_token"] = vocabulary.begin
    heads = {"attn_q.weight": shape.n_heads, "attn_k.weight": shape.n_kv_heads}
    write(path, shape, weights_of(reader, arch, heads), notes, vocabulary.table())
