# SPDX-License-Identifier: MIT
"""What a TqCache refuses, where a wrong answer would be the alternative."""

import copy
import pickle
import subprocess
import sys

import pytest
import torch
from transformers import DynamicCache

from libtqkv import TqkvError
from libtqkv.transformers import TqCache, enable


@torch.no_grad()
def run(model, ids, cache, **options):
    return model(ids, past_key_values=cache, **options)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_other_attention_is_told(llama, prompts, implementation):
    llama.set_attn_implementation(implementation)
    with pytest.raises(TypeError, match="enable"):
        run(llama, prompts[0], TqCache.for_model(llama))


def test_other_caches_go_on(llama, prompts):
    ids, mask = prompts
    expected = run(llama, ids, DynamicCache(config=llama.config), attention_mask=mask).logits
    enable(llama)
    assert torch.equal(run(llama, ids, DynamicCache(config=llama.config), attention_mask=mask).logits, expected)
    assert torch.equal(run(llama, ids, None, attention_mask=mask, use_cache=False).logits, expected)


def test_masks_of_another_kind(llama, prompts):
    ids = prompts[0]
    enable(llama)
    holes = torch.ones_like(ids)
    holes[0, 10] = 0
    right = torch.ones_like(ids)
    right[1, 35:] = 0
    square = torch.ones(3, 1, 40, 40, dtype=torch.bool)
    for mask in (holes, right, square, torch.zeros(3, 1, 40, 40)):
        with pytest.raises(ValueError, match="mask"):
            run(llama, ids, TqCache.for_model(llama), attention_mask=mask)


def test_a_mask_that_is_lost(llama, prompts):
    ids, mask = prompts
    enable(llama)
    cache = TqCache.for_model(llama)
    run(llama, ids, cache, attention_mask=mask)
    with pytest.raises(ValueError, match="attention_mask"):
        run(llama, ids[:, :1], cache)


def test_gradients_dropout_and_layers(llama, gemma3, prompts):
    enable(llama)
    with pytest.raises(RuntimeError, match="no_grad"):
        llama(prompts[0], past_key_values=TqCache.for_model(llama))
    enable(gemma3)
    with pytest.raises(ValueError, match="window"):
        run(gemma3, prompts[0], TqCache(layers=[type(layer)() for layer in TqCache.for_model(llama).layers]))


def test_a_full_cache(llama, prompts):
    enable(llama)
    cache = TqCache.for_model(llama, capacity=39)
    with pytest.raises(TqkvError, match="capacity"):
        run(llama, prompts[0], cache)


def test_a_step_that_failed_half_way(llama, prompts):
    """Layers that disagree are told, and do not go on."""
    enable(llama)
    cache = TqCache.for_model(llama)
    run(llama, prompts[0], cache)
    good = llama.model.layers[2].self_attn.v_proj.weight.data.clone()
    llama.model.layers[2].self_attn.v_proj.weight.data.fill_(float("nan"))
    with pytest.raises(TqkvError, match="NaN"):
        run(llama, prompts[0][:, :1], cache)
    llama.model.layers[2].self_attn.v_proj.weight.data.copy_(good)
    with pytest.raises(RuntimeError):
        run(llama, prompts[0][:, :1], cache)
    cache.reset()
    run(llama, prompts[0], cache)


@pytest.mark.parametrize("kind, capacity, status", [("tq9", None, "FORMAT"), ("tq4+centr", None, "FORMAT"),
                                                    ("tq4-v1", None, "HEAD_DIM"), ("tq4", 0, "POSITION"),
                                                    ("tq4+recent=64", 63, "POSITION"), ("tq4", -1, "POSITION")])
def test_what_is_wrong_is_told_where_the_cache_is_made(llama, gemma3, kind, capacity, status):
    for model in (llama, gemma3):
        with pytest.raises(TqkvError) as caught:
            TqCache.for_model(model, kind, capacity=capacity)
        assert caught.value.status.name == status


def test_layers_that_nobody_has(llama):
    llama.config.layer_types = ["full_attention", "clairvoyance", "full_attention", "full_attention"]
    with pytest.raises(ValueError, match="layer 1 is of the type 'clairvoyance'"):
        TqCache.for_model(llama.config)


def test_a_filled_cache_and_another_text(llama, gemma3, prompts):
    for model in (llama, gemma3):
        enable(model)
        cache = TqCache.for_model(model)
        run(model, prompts[0][:1], cache)
        with pytest.raises(ValueError, match="holds 40.*reset"):
            model.generate(prompts[0][:1, :20], past_key_values=cache, max_new_tokens=3)
        with pytest.raises(ValueError, match="3 rows for a cache that holds 40 positions of 1.*reset"):
            run(model, prompts[0], cache)
        cache.reset()
        assert model.generate(prompts[0], past_key_values=cache, max_new_tokens=3).shape == (3, 43)


def test_copies(llama, prompts):
    """A deep copy goes its own way; what cannot be pickled says what can."""
    enable(llama)
    cache = TqCache.for_model(llama)
    run(llama, prompts[0], cache)
    copied = copy.deepcopy(cache)
    first, second = (run(llama, prompts[0][:, :3], one).logits for one in (cache, copied))
    assert torch.equal(first, second) and copied.get_seq_length() == 43
    run(llama, prompts[0][:, :1], cache)
    assert (cache.get_seq_length(), copied.get_seq_length()) == (44, 43)
    with pytest.raises(TypeError, match="export_block"):
        pickle.dumps(cache)


def test_after_a_step_that_failed(llama, prompts):
    """What is wrong is the step before, and reset() the way out."""
    enable(llama)
    cache = TqCache.for_model(llama, "f16", capacity=30)
    with pytest.raises(TqkvError):
        run(llama, prompts[0], cache)
    with pytest.raises(RuntimeError, match="that step failed, and reset"):
        run(llama, prompts[0][:, :4], cache)
    cache.reset()
    run(llama, prompts[0][:, :4], cache)


def test_other_versions():
    """A module of that name in transformers' place: its version is looked at before anything that it lacks."""
    for version in ("4.57.6", "5.14.1"):
        code = (f"import sys, types; old = types.ModuleType('transformers'); old.__version__ = '{version}'; "
                "sys.modules['transformers'] = old; import libtqkv.transformers")
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert f"ImportError: libtqkv.transformers needs transformers 5.15 or later, not {version}" in done.stderr
