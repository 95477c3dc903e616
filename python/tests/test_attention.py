# SPDX-License-Identifier: MIT
"""Attention on codes and arrays, beside float64 on what they decode to."""

import numpy as np
import pytest

import libtqkv
from libtqkv import Codec, Status, TqkvError, attention, merge

H, G, T, D = 6, 2, 200, 64


def reference(q, k, v, causal=True, window=0, scale=None, softcap=0.0, sinks=None, end=None):
    """(out, lse) of q [H, n, D], in float64."""
    q, k, v = (np.asarray(a, np.float64) for a in (q, k, v))
    k, v = (np.repeat(a, q.shape[0] // k.shape[0], 0) for a in (k, v))
    n, positions = q.shape[1], k.shape[1]
    s = np.einsum("hnd,htd->hnt", q, k) * (scale or q.shape[2] ** -0.5)
    if softcap:
        s = softcap * np.tanh(s / softcap)
    at = np.arange(n)[:, None] + (end or positions) - n
    t = np.arange(positions)[None]
    seen = (t <= at) if causal else np.ones((n, positions), bool)
    if window:
        seen &= t > at - window
    s = np.where(seen, s, -np.inf)
    if sinks is not None:
        s = np.concatenate([s, np.broadcast_to(np.asarray(sinks, float)[:, None, None], (*s.shape[:2], 1))], -1)
        v = np.concatenate([v, np.zeros_like(v[:, :1])], 1)
    lse = np.log(np.exp(s - s.max(-1, keepdims=True)).sum(-1)) + s.max(-1)
    return np.einsum("hnt,hte->hne", np.exp(s - lse[..., None]), v), lse


@pytest.fixture
def tensors(rng):
    return [rng.standard_normal(shape).astype(np.float32) for shape in ((H, 5, D), (G, T, D), (G, T, D))]


@pytest.mark.parametrize("options", [{}, {"causal": False}, {"window": 17}, {"scale": 0.3, "softcap": 5.0},
                                     {"sinks": np.linspace(-1, 3, H, dtype=np.float32)}])
def test_on_codes_and_arrays(tensors, options):
    q, k, v = tensors
    kc, vc = Codec("tq6", D).encode(k, "learn"), Codec("tq4", D).encode(v)
    for keys, values in ((kc, vc), (k, v), (kc, v), (k, vc)):
        dense = [a.decode() if isinstance(a, libtqkv.Codes) else a for a in (keys, values)]
        expected, expected_lse = reference(q, *dense, **options)
        out, lse = attention(q, keys, values, lse=True, arithmetic="float", **options)
        assert out.shape == (H, 5, D) and lse.shape == (H, 5)
        assert np.abs(out - expected).max() < 2e-6 and np.abs(lse - expected_lse).max() < 3e-6
        usual, whole = attention(q, keys, values, **options), attention(q, keys, values, arithmetic="integer", **options)
        assert np.array_equal(usual, whole) and np.abs(usual - expected).max() < 0.02
        assert np.array_equal(usual, out) == (keys is k and values is v)


@pytest.mark.parametrize("dtype, tolerance", [(np.float16, 2e-3), ("bfloat16", 2e-2)])
def test_half_types(tensors, dtype, tolerance):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    q, k, v = (a.astype(dtype) for a in tensors)
    out = attention(q, k, v)
    assert out.dtype == q.dtype
    expected, _ = reference(*(a.astype(np.float32) for a in (q, k, v)))
    assert np.abs(out.astype(np.float32) - expected).max() < tolerance
    wide = np.empty((H, 5, D), np.float32)
    assert attention(q, k, v, out=wide) is wide and np.abs(wide - expected).max() < 2e-6


def test_strides_and_one_query(tensors):
    q, k, v = tensors
    expected = attention(q, k, v)
    token_major = np.ascontiguousarray(q.transpose(1, 0, 2))
    out = np.zeros((5, H, D), np.float32)
    attention(token_major.transpose(1, 0, 2), np.ascontiguousarray(k.transpose(1, 0, 2)).transpose(1, 0, 2), v,
              out=out.transpose(1, 0, 2))
    assert np.array_equal(out.transpose(1, 0, 2), expected)
    one = attention(q[:, -1], k, v)
    assert one.shape == (H, D) and np.array_equal(one, expected[:, -1])


def test_values_of_another_dimension(rng):
    q, k = rng.standard_normal((2, 3, 64), np.float32), rng.standard_normal((1, 40, 64), np.float32)
    v = rng.standard_normal((1, 40, 32), np.float32)
    assert np.abs(attention(q, k, v) - reference(q, k, v)[0]).max() < 2e-6


@pytest.mark.parametrize("sinks", [None, np.linspace(-2, 2, H, dtype=np.float32)])
def test_partials_and_merge(tensors, sinks):
    q, k, v = tensors
    whole, whole_lse = attention(q, k, v, causal=False, sinks=sinks, lse=True)
    parts = [attention(q, k[:, a:b], v[:, a:b], causal=False, partial=True) for a, b in ((0, 50), (50, 51), (51, T))]
    assert [p.shape for p in parts[0]] == [(H, 5, D), (H, 5), (H, 5)]
    out, lse = merge(parts, sinks, lse=True)
    assert np.abs(out - whole).max() < 1e-6 and np.abs(lse - whole_lse).max() < 2e-6
    assert np.array_equal(merge(parts, sinks), out)
    swapped = [tuple(np.ascontiguousarray(np.swapaxes(a, 0, 1)) for a in part) for part in parts]
    assert np.array_equal(merge(swapped, sinks, heads=-1).transpose(1, 0, 2), out)
    with pytest.raises(TqkvError):
        merge([])
    with pytest.raises(TqkvError):
        merge([parts[0], tuple(a[:, :2] for a in parts[1])])


def refused(status, field, *arguments, **options):
    with pytest.raises(TqkvError) as caught:
        attention(*arguments, **options)
    assert (caught.value.status, caught.value.field) == (status, field), caught.value
    return caught.value


def test_refusals(tensors):
    q, k, v = tensors
    bad = q.copy()
    bad[3, 2, 1] = np.nan
    assert np.unravel_index(refused(Status.NOT_FINITE, "q", bad, k, v).index, q.shape) == (3, 2, 1)
    refused(Status.SIZE, "v", q, k, v[:, :-1])
    refused(Status.HEADS, "n_heads", q[:5], k, v)
    refused(Status.SCALE, "scale", q, k, v, scale=0)
    refused(Status.SIZE, "sinks", q, k, v, sinks=np.zeros(H + 1, np.float32))
    refused(Status.SIZE, "out", q, k, v, out=np.zeros((H, 4, D), np.float32))
    refused(Status.OVERLAP, "out", q, k, v, out=q)
    refused(Status.FORMAT, "v", q, k, Codec("tq4", D).encode(v, np.ones((G, D))))
    for wrong in ("double", 2, ""):
        refused(Status.FORMAT, "arithmetic", q, k, v, arithmetic=wrong)
    with pytest.raises(TypeError, match="no argument 'scael'"):
        attention(q, k, v, scael=1)
    with pytest.raises(TypeError, match="needs 'v'"):
        attention(q, k, None)
    q[:] = np.nan
    k[0, 3, 3] = np.inf  # in the keys it is the rows' that see it, and no error
    assert np.isnan(attention(np.ones_like(q), k, v)[:3]).all()
