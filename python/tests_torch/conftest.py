# SPDX-License-Identifier: MIT
"""Tiny models with random weights, which the tests share."""

import pytest
import torch
from transformers import (Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM)

import libtqkv

# Models this small only lose by threads, and much where a machine has other work.
torch.set_num_threads(1)
libtqkv.set_threads(1)

SIZES = dict(vocab_size=300, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=2048)


def make(name):
    torch.manual_seed(7)
    special = dict(pad_token_id=0, bos_token_id=1, eos_token_id=None)
    if name == "llama":
        return LlamaForCausalLM(LlamaConfig(**SIZES, head_dim=32, **special)).eval()
    if name == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**{**SIZES, "hidden_size": 128}, **special)).eval()
    kinds = ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"]
    return Gemma3ForCausalLM(Gemma3TextConfig(**SIZES, head_dim=32, sliding_window=24, layer_types=kinds,
                                              query_pre_attn_scalar=32, **special)).eval()


@pytest.fixture(params=["llama", "qwen2", "gemma3"])
def model(request):
    return make(request.param)


@pytest.fixture
def llama():
    return make("llama")


@pytest.fixture
def gemma3():
    return make("gemma3")


@pytest.fixture
def prompts():
    """Token ids [3, 40], rows padded on the left by 0, 7 and 31, and their mask."""
    torch.manual_seed(1)
    ids, mask = torch.randint(2, 300, (3, 40)), torch.ones(3, 40, dtype=torch.long)
    for row, pad in enumerate((0, 7, 31)):
        ids[row, :pad], mask[row, :pad] = 0, 0
    return ids, mask
