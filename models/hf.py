# SPDX-License-Identifier: MIT
"""Hugging Face's own model of a model file, to judge lm/ by: its forward pass shares no line with ours.

Needs torch and transformers 5, as make-fixture, make-tiny and beside-transformers do, and nothing else here.
"""
import numpy as np
import torch
import transformers
from gguf import MODEL_ARCH, get_tensor_name_map
from transformers.initialization import no_init_weights

import convert
import tensors

ARCHS = {"llama": MODEL_ARCH.LLAMA, "qwen2": MODEL_ARCH.QWEN2, "gemma3": MODEL_ARCH.GEMMA3}


def gguf_names(arch, model):
    """Hugging Face's names of the model's parameters to GGUF's, by llama.cpp's table."""
    table = get_tensor_name_map(ARCHS[arch], model.config.num_hidden_layers)
    return {name: table.get_name(name, try_suffixes=(".weight", ".bias")) for name, _ in model.named_parameters()}


def config(meta):
    """arch and configuration of the metadata of a model file."""
    def number(key):
        return float(meta[key].split(",")[0])

    n, windows = int(meta["n_layers"]), [int(w) for w in meta["window"].split(",")]
    bases = [float(b) for b in meta["rope_base"].split(",")]
    shared = {
        "vocab_size": int(meta["vocab"]), "hidden_size": int(meta["d"]), "intermediate_size": int(meta["d_ff"]),
        "num_hidden_layers": n, "num_attention_heads": int(number("n_heads")),
        "num_key_value_heads": int(number("n_kv_heads")), "head_dim": int(number("head_dim")),
        "rms_norm_eps": number("norm_eps"), "max_position_embeddings": int(meta["context"]),
        "tie_word_embeddings": meta["tied_output"] == "1", "rope_theta": bases[-1],
        "attn_implementation": "eager", "pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    if meta["post_norms"] == "1":
        return "gemma3", transformers.Gemma3TextConfig(
            **shared, rope_local_base_freq=bases[0], sliding_window=max(windows),
            layer_types=["sliding_attention" if w else "full_attention" for w in windows],
            query_pre_attn_scalar=round(number("attention_scale") ** -2), hidden_activation="gelu_pytorch_tanh")
    if meta["qkv_bias"] == "1":
        return "qwen2", transformers.Qwen2Config(**shared, hidden_act="silu")
    return "llama", transformers.LlamaConfig(**shared, hidden_act="silu")


@torch.no_grad()
def load(path, dtype=torch.float32):
    weights, meta = tensors.read(path)
    meta = {key.removeprefix(convert.PREFIX): value for key, value in meta.items()}
    arch, settings = config(meta)
    with no_init_weights():
        model = transformers.AutoModelForCausalLM.from_config(settings, dtype=dtype)
    model.tie_weights()  # which no_init_weights left out
    names = gguf_names(arch, model)
    # Hugging Face adds 1 to Gemma's norm weights; a file made from GGUF has it added.
    less = 1 - float(meta["norm_offset"]) if arch == "gemma3" else 0
    for name, parameter in model.named_parameters():
        ours = convert.our_name(names[name])
        parameter.copy_(torch.from_numpy(np.array(weights.pop(ours))))
        if "norm" in ours:
            parameter -= less
    unused = [name for name in weights if not name.startswith("tokens.")]
    assert not unused, unused
    return model.eval()
