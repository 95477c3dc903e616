# SPDX-License-Identifier: MIT
"""The serde for LMCache: on its own classes where they load, else on a stand-in with their signatures."""

import types

import pytest
import torch

import standin_lmcache
from libtqkv import Cache, TqkvError

serde, IS_REAL = standin_lmcache.load()
tq = pytest.importorskip("libtqkv.lmcache")


def memory(tensor):
    return types.SimpleNamespace(tensor=tensor)


def layout(*tensors):
    return types.SimpleNamespace(shapes=[x.shape for x in tensors], dtypes=[x.dtype for x in tensors])


def round_trip(x, **options):
    made = tq.create_serde({"type": "tqkv", "head_dim": 64, **options})
    n = made.estimate_serialized_size(layout(x))
    out, room = torch.full_like(x, 7), torch.zeros(n, dtype=torch.uint8)
    written = made._serializer.serialize(memory(x), memory(room), "key")
    made._deserializer.deserialize(memory(room), memory(out), "key")
    return out, room, written, n, made


def chunk(*shape, dtype=torch.float32):
    torch.manual_seed(4)
    return (torch.randn(*shape) + 2 * (torch.arange(shape[-1]) % 64 == 5)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_round_trip(dtype):
    x = chunk(2, 3, 256, 128, dtype=dtype)
    out, _, written, n, _ = round_trip(x)
    assert written == n < x.numel() * 0.75 and out.dtype == dtype
    for side, error in ((0, 8e-4), (1, 0.011)):
        assert (out[side].float() - x[side].float()).square().sum() < error * x[side].float().square().sum()


@pytest.mark.parametrize("tokens", [1, 63, 64, 65, 255, 700])
@pytest.mark.parametrize("kind", ["tq4", "tq6/tq4+centre", "default", "f16"])
def test_the_size_is_exact(tokens, kind):
    out, _, written, n, _ = round_trip(chunk(2, 2, tokens, 128), kind=kind)
    assert written == n and not (out == 7).all()


def test_a_layer_at_a_time_and_what_a_cache_would_hold():
    x = chunk(2, 100, 128)
    out, _, _, _, made = round_trip(x, dims="2TD", kind="tq5")
    cache = Cache(2, 64, "tq5", capacity=100)
    cache.append(*(x[i].view(100, 2, 64).numpy() for i in (0, 1)))
    k, v = cache.decode()
    assert torch.equal(out[0], torch.from_numpy(k).view(100, 128)) and torch.equal(out[1], torch.from_numpy(v).view(100, 128))


def test_damage_changes_nothing():
    x = chunk(2, 2, 80, 64)
    out, room, _, _, made = round_trip(x)
    for at in (0, 9, 20, 300, len(room) - 1):
        bad, target = room.clone(), torch.full_like(x, 3)
        bad[at] ^= 255
        with pytest.raises(TqkvError) as caught:
            made._deserializer.deserialize(memory(bad), memory(target), "key")
        assert caught.value.status.name.startswith("FILE_") and (target == 3).all()
    for other in (chunk(2, 3, 80, 64), chunk(2, 2, 81, 64), chunk(2, 2, 80, 128)):
        with pytest.raises(TqkvError):
            made._deserializer.deserialize(memory(room), memory(other), "key")


def test_refusals():
    for options in ({}, {"head_dim": 64, "knid": "tq4"}, {"head_dim": 63}, {"head_dim": 64, "kind": "tq9"},
                    {"head_dim": 64, "dims": "LTD"}):
        with pytest.raises(ValueError):
            tq.create_serde(options)
    made = tq.create_serde({"head_dim": 64})
    with pytest.raises(ValueError, match="shape"):
        made.estimate_serialized_size(layout(torch.zeros(2, 3, 10, 100)))
    bad = chunk(2, 1, 70, 64)
    bad[1, 0, 3, 3] = float("nan")
    with pytest.raises(TqkvError) as caught:
        made._serializer.serialize(memory(bad), memory(torch.zeros(1 << 16, dtype=torch.uint8)), "key")
    assert caught.value.status.name == "NOT_FINITE"
    with pytest.raises(TqkvError) as caught:
        made._serializer.serialize(memory(chunk(2, 1, 70, 64)), memory(torch.zeros(99, dtype=torch.uint8)), "key")
    assert caught.value.status.name == "SIZE"


def test_it_is_registered():
    with pytest.raises(ValueError, match="already"):
        serde.register_serde_factory("tqkv", tq.create_serde)


@pytest.mark.skipif(not IS_REAL, reason="LMCache is not installed, or does not load here")
def test_lmcaches_own_processor():
    import select
    made = serde.create_serde_processor(serde.SerdeConfig("tqkv", {"head_dim": 64, "max_workers": 2}))
    x = [chunk(2, 2, 90, 64), chunk(2, 2, 90, 64) * 2]
    n = made.estimate_serialized_size(layout(x[0]))
    rooms, outs = [memory(torch.zeros(n, dtype=torch.uint8)) for _ in x], [memory(torch.zeros_like(a)) for a in x]

    def finished(fd, query, task):
        while (done := query(task)) is None:
            select.select([fd], [], [], 20)
        return done

    task = made.submit_serialize([memory(a) for a in x], rooms, ["a", "b"])
    assert finished(made.get_serialize_event_fd(), made.query_serialize_result, task)
    task = made.submit_deserialize(rooms, outs, ["a", "b"])
    assert finished(made.get_deserialize_event_fd(), made.query_deserialize_result, task)
    assert all((a - out.tensor).norm() < 0.1 * a.norm() for a, out in zip(x, outs))
    made.close()
