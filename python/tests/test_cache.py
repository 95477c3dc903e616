# SPDX-License-Identifier: MIT
"""Caches: what they hold and attend to, what they refuse, forks, blocks, pools and batches."""

import numpy as np
import pytest

from libtqkv import Cache, PagePool, Status, TqkvError, attend_batch, block_info, merge
from libtqkv.cache import DEFAULT
from test_attention import reference

G, D = 2, 64


def vectors(rng, n, dim=D):
    return rng.standard_normal((n, G, dim), np.float32)


def heads_first(x):
    return x.transpose(1, 0, 2)


@pytest.mark.parametrize("kind, error", [("f16", 2e-3), ("bf16", 2e-2), ("tq8", 0.02), ("default", 0.08),
                                         ("f16/tq6+recent=16", 0.05), ("tq8/bf16", 0.03),
                                         ("tq6/tq4+centre=32+recent=8+sinks=2+unbiased", 0.15)])
def test_attends_to_what_was_appended(rng, kind, error):
    cache = Cache(G, D, kind, capacity=500)
    k, v, q = vectors(rng, 300), vectors(rng, 300), rng.standard_normal((4, 6, D), np.float32)
    for a, b in ((0, 1), (1, 130), (130, 130), (130, 299)):
        cache.append(k[a:b], v[a:b])
    cache.append(k[299], v[299])
    assert cache.length == len(cache) == 300
    out, lse = cache.attend(q, lse=True)
    expected, expected_lse = reference(heads_first(q), heads_first(k), heads_first(v))
    assert out.shape == (4, 6, D) and np.abs(heads_first(out) - expected).max() < error
    assert np.abs(lse.T - expected_lse).max() < error
    assert np.array_equal(cache.attend(q[-1]), out[-1])


def test_types_and_strides(rng):
    k, v = vectors(rng, 50).astype(np.float16), vectors(rng, 50).astype(np.float16)
    fused = np.zeros((G, 50, 2 * D + 6), np.float16)  # heads outermost, a gap
    fused[:, :, :D], fused[:, :, D + 6:] = heads_first(k), heads_first(v)
    one, two = Cache(G, D, "tq4", capacity=64), Cache(G, D, "tq4", capacity=64)
    one.append(k.astype(np.float32), v.astype(np.float32))
    two.append(heads_first(fused[:, :, :D]), heads_first(fused[:, :, D + 6:]))
    assert one.export_block() == two.export_block()


def test_default_is_the_name_that_it_says(rng):
    blocks = []
    for kind in ("default", DEFAULT):
        cache = Cache(G, D, kind, capacity=400)
        generator = np.random.default_rng(5)
        cache.append(vectors(generator, 300), vectors(generator, 300))
        blocks.append(cache.export_block())
    assert blocks[0] == blocks[1]


def test_bytes_are_those_of_the_formats(rng):
    cache = Cache(G, D, "tq6/tq4", capacity=1 << 20)
    empty = cache.nbytes
    cache.append(vectors(rng, 1280), vectors(rng, 1280))
    parts = cache.bytes
    assert parts["k_codes"] == 1280 * G * D * 6 // 8 and parts["v_norms"] == 1280 * G * 2
    assert parts["used"] == 1280 * G * (D * 10 // 8 + 4) and parts["held"] == cache.nbytes
    assert empty < 4096 and cache.nbytes - parts["used"] < 4096


def test_what_is_refused_changes_nothing(rng):
    cache = Cache(G, D, "default", capacity=100)
    k, v = vectors(rng, 90), vectors(rng, 90)
    cache.append(k, v)
    before = cache.export_block()
    bad = v[:5].copy()
    bad[2, 1, 7] = np.inf

    def refused(status, field, call, *arguments, **named):
        with pytest.raises(TqkvError) as caught:
            call(*arguments, **named)
        assert (caught.value.status, caught.value.field) == (status, field), caught.value
        assert cache.export_block() == before
        return caught.value

    error = refused(Status.NOT_FINITE, "v", cache.append, k[:5], bad)
    assert np.unravel_index(error.index, bad.shape) == (2, 1, 7)
    refused(Status.POSITION, "n", cache.append, k[:11], v[:11])
    refused(Status.SIZE, "v", cache.append, k[:5], v[:4])
    refused(Status.SIZE, "k", cache.append, k[:5, :1], v[:5])
    refused(Status.SIZE, "k", cache.append, k[:5, :, :32], v[:5])
    refused(Status.FORMAT, "v", cache.append, k[:5], v[:5].astype(np.float16))
    refused(Status.FORMAT, "k", cache.append, k[:5].astype(np.float64), v[:5])
    refused(Status.STRIDE, "k", cache.append, np.broadcast_to(k[:1], (5, G, D)), v[:5])
    refused(Status.POSITION, "length", cache.truncate, 91)
    refused(Status.POSITION, "length", cache.truncate, -1)
    refused(Status.HEAD_DIM, "q", cache.attend, np.zeros((1, 4, 32), np.float32))
    refused(Status.HEADS, "n_heads", cache.attend, np.zeros((1, 3, D), np.float32))
    with pytest.raises(TqkvError):
        cache.attend(np.zeros((91, 4, D), np.float32))
    for wrong in ({"capacity": 0}, {"capacity": 5, "policy": "heap"}, {"capacity": 5, "window": 3},
                  {"capacity": 5, "policy": "ring", "window": 6}):
        with pytest.raises(TqkvError):
            Cache(G, D, "tq4", **wrong)
    for kind in ("tq9", "f16+centre", "f16/tq4+what", ""):
        with pytest.raises(TqkvError):
            Cache(G, D, kind, capacity=10)


def test_a_given_centre(rng):
    centre = np.full((G, D), 10, np.float32)
    k, v, q = vectors(rng, 100) + 10, vectors(rng, 100), rng.standard_normal((1, 4, D), np.float32)
    errors = []
    for given in (None, centre):
        cache = Cache(G, D, "tq3", capacity=100, k_centre=given)
        cache.append(k, v)
        errors.append(np.abs(heads_first(cache.attend(q)) - reference(heads_first(q), heads_first(k), heads_first(v))[0]).mean())
    assert errors[1] < errors[0] / 2 and np.array_equal(cache.k_centre(5), centre.astype(np.float16))
    assert Cache(G, D, "tq3", capacity=100).k_centre(5) is None


def test_rings_look_back_on_their_window(rng):
    cache = Cache(G, D, "f16", capacity=48, policy="ring", window=32)
    k, v, q = vectors(rng, 200), vectors(rng, 200), rng.standard_normal((16, 4, D), np.float32)
    cache.append(k, v)
    assert cache.window == 32 and cache.first == 152
    expected, _ = reference(heads_first(q), heads_first(k), heads_first(v), window=32)
    assert np.abs(heads_first(cache.attend(q)) - expected).max() < 2e-3
    with pytest.raises(TqkvError) as caught:
        cache.attend(q, window=40)
    assert caught.value.status == Status.POSITION
    cache.truncate(190)
    with pytest.raises(TqkvError):
        cache.truncate(150)


def test_forks_and_truncation(rng):
    cache = Cache(G, D, capacity=400)
    k, v = vectors(rng, 300), vectors(rng, 300)
    cache.append(k[:200], v[:200])
    fork, part = cache.fork(), cache.fork(150)
    cache.append(k[200:], v[200:])
    assert (fork.length, part.length, fork.kind, fork.n_kv_heads) == (200, 150, "default", G)
    fork.append(k[200:], v[200:])
    assert fork.export_block() == cache.export_block()
    cache.truncate(150)
    assert cache.length == 150
    cache.clear()
    assert cache.length == 0


def test_blocks_move_caches(rng):
    cache, other = Cache(G, D, capacity=400), Cache(G, D, capacity=400)
    k, v, q = vectors(rng, 300), vectors(rng, 300), rng.standard_normal((1, 4, D), np.float32)
    cache.append(k, v)
    block = cache.export_block()
    info = block_info(block)
    assert (info["end"], info["k_format"], info["v_format"], info["bytes"]) == (300, "tq6", "tq4", len(block))
    other.import_block(block)
    assert np.array_equal(cache.attend(q), other.attend(q)) and other.export_block() == block
    room = bytearray(len(block) + 100)
    assert cache.export_block(out=room) == len(block) and room[:len(block)] == block
    other.clear()
    with pytest.raises(TqkvError) as caught:
        other.import_block(block[:-1] + bytes([block[-1] ^ 1]))
    assert caught.value.status == Status.FILE_CHECKSUM and other.length == 0
    with pytest.raises(TqkvError) as caught:
        cache.export_block(out=bytearray(10))
    assert caught.value.status == Status.SIZE
    with pytest.raises(TqkvError):
        Cache(G, D, "tq4", capacity=400).import_block(block)


@pytest.mark.parametrize("options", [{"capacity": 700}, {"capacity": 300, "policy": "ring", "window": 200}, "pool"])
@pytest.mark.parametrize("kind", ["default", "f16/tq8+recent=30", "tq6/bf16+centre=64+sinks=3"])
def test_decoding_gives_what_attention_sees(rng, kind, options):
    if options == "pool":
        options = {"capacity": 700, "pool": PagePool(G, D, kind.split("+")[0], n_pages=50, page_rows=16)}
    cache = Cache(G, D, kind, **options)
    k, v, q = vectors(rng, 600) + 3, vectors(rng, 600), rng.standard_normal((1, 4, D), np.float32)
    cache.append(k, v)
    first = 400 if cache.window else 0
    keys, values = cache.decode(first)
    assert np.abs(keys - k[first:]).mean() < 0.05 and np.abs(values - v[first:]).mean() < 0.1
    sinks = cache.decode(0, {"default": 1, "f16/tq8+recent=30": 0}.get(kind, 3)) if first else (keys[:0], values[:0])
    seen = [heads_first(np.concatenate(parts)) for parts in zip(sinks, (keys, values))]
    out = cache.attend(q, arithmetic="float")
    assert np.abs(heads_first(out) - reference(heads_first(q), *seen)[0]).max() < 1e-5
    one, _ = cache.decode(550, 551)
    assert np.array_equal(one[0], keys[550 - first])
    for span in ((0, 601), (5, 3), *([(0, 600)] if first else [])):
        with pytest.raises(TqkvError):
            cache.decode(*span)


def test_pools_share_pages(rng):
    pool = PagePool(G, D, "tq4", n_pages=30, page_rows=16)
    cache = Cache(G, D, "tq4", capacity=1000, pool=pool)
    k, v = vectors(rng, 320), vectors(rng, 320)
    cache.append(k, v)
    assert pool.free_pages == 10
    forks = [cache.fork() for _ in range(5)]
    assert pool.free_pages == 10 and forks[0].bytes["shared"] > 0
    with pytest.raises(MemoryError) as caught:
        cache.append(k[:161], v[:161])
    assert caught.value.status == Status.NO_MEMORY and cache.length == 320
    del cache
    q = rng.standard_normal((1, 4, D), np.float32)
    out = forks[0].attend(q)
    held = pool.nbytes
    del pool
    assert np.array_equal(forks[1].attend(q), out) and held > 0
    with pytest.raises(TypeError):
        Cache(G, D, "tq4", capacity=10, pool=7)


def test_batches_have_the_bits_of_single_calls(rng):
    caches = [Cache(G, D, capacity=400) for _ in range(4)]
    counts = [1, 3, 0, 2]
    for i, cache in enumerate(caches):
        cache.append(vectors(rng, 40 + 60 * i), vectors(rng, 40 + 60 * i))
    q = rng.standard_normal((6, 4, D), np.float32)
    out, lse = attend_batch(caches, q, counts, lse=True)
    at = 0
    for cache, n in zip(caches, counts):
        alone, alone_lse = cache.attend(q[at:at + n], lse=True)
        assert np.array_equal(out[at:at + n], alone) and np.allclose(lse[at:at + n], alone_lse, rtol=1e-6)
        at += n
    open_results = attend_batch(caches, q, counts, partial=True)
    assert np.abs(merge([open_results], heads=-1) - out).max() < 1e-6
    same = attend_batch(caches, q[:4])
    assert np.array_equal(same[3], caches[3].attend(q[3]))
    for arguments in ((caches, q, [1, 3, 0, 3]), (caches, q, [1, 3, 0, 1]), ([caches[0], caches[0]], q[:2]),
                      ([caches[0], Cache(G, D, "tq4", capacity=9)], q[:2]), (caches, q[:5])):
        with pytest.raises(TqkvError):
            attend_batch(*arguments)
    for arguments in (([], q), ([1], q), (caches, q, [1])):
        with pytest.raises(TypeError):
            attend_batch(*arguments)


def test_what_a_cache_knows_is_not_said_otherwise():
    """An option that was passed over in silence would be a wrong answer."""
    x, q = np.ones((20, 2, 64), np.float32), np.ones((1, 4, 64), np.float32)
    plain, ring = Cache(2, 64, "tq4", capacity=40), Cache(2, 64, "f16+sinks=4", capacity=16, policy="ring", window=8)
    for cache in (plain, ring):
        for i in range(20):
            cache.append(x[i], x[i])
    for call in (lambda: plain.attend(q, query_end=10), lambda: attend_batch([plain], q, query_end=10)):
        with pytest.raises(TqkvError) as caught:
            call()
        assert (caught.value.status, caught.value.field) == (Status.POSITION, "query_end")
    with pytest.raises(TqkvError) as caught:
        ring.attend(q, sink_positions=1)
    assert (caught.value.status, caught.value.field) == (Status.POSITION, "sink_positions")
    assert np.array_equal(ring.attend(q, sink_positions=4), ring.attend(q))


def test_counts_that_empty_their_list():
    cache = Cache(2, 64, "tq4", capacity=4)
    cache.append(np.ones((2, 64), np.float32), np.ones((2, 64), np.float32))

    class Number:
        def __index__(self):
            counts.clear()
            return 1

    counts = [Number(), 1]
    with pytest.raises(IndexError):
        attend_batch([cache, cache.fork()], np.ones((2, 4, 64), np.float32), counts)
