# SPDX-License-Identifier: MIT
"""Models of transformers with a TqCache, beside their own DynamicCache."""

import numpy as np
import pytest
import torch
from transformers import DynamicCache

from libtqkv.transformers import TqCache, TqLayer, TqSlidingLayer, enable


@torch.no_grad()
def logits(model, ids, mask, cache, pieces):
    """Of all positions, fed in pieces."""
    out, at = [], 0
    for n in pieces:
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, at:at + n]
        out.append(model(ids[:, at:at + n], attention_mask=mask[:, :at + n], past_key_values=cache,
                         position_ids=positions).logits)
        at += n
    return torch.cat(out, 1)


@pytest.mark.parametrize("kind, error", [("f16", 1e-3), ("tq8", 0.02), ("default", 0.2)])
@pytest.mark.parametrize("pieces", [(40,), (25, 15), (30, *[1] * 10)])
def test_logits_are_those_of_dense_caches(model, prompts, kind, error, pieces):
    ids, mask = prompts
    expected = logits(model, ids, mask, DynamicCache(config=model.config), (40,))
    enable(model)
    cache = TqCache.for_model(model, kind)
    got = logits(model, ids, mask, cache, pieces)
    real = mask.bool()
    assert (got - expected)[real].norm() < error * expected[real].norm()
    assert cache.get_seq_length() == 40
    assert [row.length for row in cache.layers[-1].rows] == [40, 33, 9]


def test_padding_changes_nothing(model, prompts):
    """A row alone, without padding, and in a batch with it."""
    ids, mask = prompts
    enable(model)
    together = logits(model, ids, mask, TqCache.for_model(model), (40,))
    for row, pad in enumerate((0, 7, 31)):
        alone = logits(model, ids[row:row + 1, pad:], mask[row:row + 1, pad:], TqCache.for_model(model), (40 - pad,))
        assert torch.allclose(together[row, pad:], alone[0], atol=2e-5)


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"num_beams": 2, "num_return_sequences": 2},
                                     {"do_sample": True, "num_return_sequences": 2}])
def test_generate_writes_the_same(model, prompts, options):
    ids, mask = prompts
    options = dict(options, max_new_tokens=30, attention_mask=mask)
    torch.manual_seed(3)
    expected = model.generate(ids, past_key_values=DynamicCache(config=model.config), **options)
    enable(model)
    torch.manual_seed(3)
    got = model.generate(ids, past_key_values=TqCache.for_model(model, "f16"), **options)
    assert torch.equal(got, expected)


def test_assisted_decoding_crops(llama, prompts):
    ids = prompts[0][:1]
    expected = llama.generate(ids, max_new_tokens=25, do_sample=False)
    enable(llama)
    for kind in ("f16", "default"):
        greedy = llama.generate(ids, max_new_tokens=25, do_sample=False, past_key_values=TqCache.for_model(llama, kind))
        got = llama.generate(ids, max_new_tokens=25, do_sample=False, prompt_lookup_num_tokens=4,
                             past_key_values=TqCache.for_model(llama, kind))
        assert kind != "f16" or torch.equal(got, expected)
        assert got.shape == greedy.shape
    # Rewinding leaves encoded positions as they are: a cache in float16 writes the same text in both ways.


def test_crop_goes_back(model, prompts):
    ids, mask = prompts[0][:1], prompts[1][:1]
    enable(model)
    cache = TqCache.for_model(model, "f16")
    whole = logits(model, ids, mask, cache, (30, 10))
    cache.crop(torch.tensor(-10))  # as assisted decoding has it, in some versions
    assert cache.get_seq_length() == 30 and type(cache.get_seq_length()) is int
    again = torch.cat([whole[:, :30], _rest(model, ids, mask, cache)], 1)
    assert torch.equal(again, whole)
    with pytest.raises(ValueError, match="negative"):
        cache.crop(5)


@torch.no_grad()
def _rest(model, ids, mask, cache):
    return model(ids[:, 30:], attention_mask=mask, past_key_values=cache, position_ids=torch.arange(30, 40)[None]).logits


def test_layers_and_bytes(gemma3, prompts):
    enable(gemma3)
    cache = TqCache.for_model(gemma3, "tq4")
    assert [type(layer) for layer in cache.layers] == [TqSlidingLayer] * 3 + [TqLayer]
    logits(gemma3, *prompts, cache, (40,))
    assert len(cache.layer_nbytes) == 4 and cache.nbytes == sum(cache.layer_nbytes)
    full = cache.layers[3]
    assert full.nbytes_used == (40 + 33 + 9) * 2 * 2 * (32 // 2 + 2)
    assert cache.get_mask_sizes(1, 3) == (41, 0) and cache.get_mask_sizes(1, 0) == (24, 17)
    cache.reset()
    assert cache.get_seq_length() == 0 and cache.nbytes == 0
    logits(gemma3, *prompts, cache, (40,))


def test_rows_are_selected_and_repeated(llama, prompts):
    ids, mask = prompts
    enable(llama)
    cache = TqCache.for_model(llama, "default")
    logits(llama, ids, mask, cache, (40,))
    layer = cache.layers[0]
    blocks = [row.export_block() for row in layer.rows]
    cache.batch_repeat_interleave(2)
    cache.reorder_cache(torch.tensor([5, 0, 0, 3]))
    assert [row.export_block() for row in layer.rows] == [blocks[i] for i in (2, 0, 0, 1)]
    assert layer.pads == [31, 0, 0, 7]
    assert len({id(row) for row in layer.rows}) == 4
    cache.batch_select_indices(torch.tensor([True, False, False, True]))
    assert [row.export_block() for row in layer.rows] == [blocks[2], blocks[1]] and cache.batch_size == 2


def test_long_prompts_through_a_window(gemma3):
    """Longer than the window and than the room that its ring has."""
    torch.manual_seed(2)
    ids = torch.randint(2, 300, (2, 1300))
    mask = torch.ones_like(ids)
    expected = logits(gemma3, ids, mask, DynamicCache(config=gemma3.config), (1300,))
    enable(gemma3)
    got = logits(gemma3, ids, mask, TqCache.for_model(gemma3, "f16"), (1100, 197, 1, 1, 1))
    assert (got - expected).norm() < 1e-3 * expected.norm()
    sinks = TqCache.for_model(gemma3, "tq8+recent=8+sinks=4")
    got = logits(gemma3, ids, mask, sinks, (1300,))
    assert (got - expected).norm() < 2e-2 * expected.norm() and sinks.layers[0].rows[0].kind == "tq8+recent=8"
    bytes_of = TqCache.for_model(gemma3, "tq4")
    logits(gemma3, ids, mask, bytes_of, (1300,))
    assert bytes_of.layer_nbytes[0] < bytes_of.layer_nbytes[3]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_models(prompts, llama, dtype):
    ids, mask = prompts
    half = llama.to(dtype)
    expected = logits(half, ids, mask, DynamicCache(config=half.config), (40,)).float()
    enable(half)
    got = logits(half, ids, mask, TqCache.for_model(half, "tq8"), (30, *[1] * 10))
    assert got.dtype == dtype
    assert (got.float() - expected)[mask.bool()].norm() < 0.03 * expected[mask.bool()].norm()


def test_inference_mode(llama, prompts):
    ids, mask = prompts
    enable(llama)
    expected = logits(llama, ids, mask, TqCache.for_model(llama), (40,))
    with torch.inference_mode():
        assert torch.equal(llama(ids, attention_mask=mask, past_key_values=TqCache.for_model(llama),
                                 position_ids=(mask.cumsum(1) - 1).clamp(min=0)).logits, expected)
