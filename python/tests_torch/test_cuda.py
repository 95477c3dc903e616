# SPDX-License-Identifier: MIT
"""CUDA tensors on the stand-in of a device: what is handed over, and on which stream; and what is refused."""

import gc
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from libtqkv import Cache, Codec, Codes, Status, TqkvError, _core, attention
from libtqkv.transformers import TqCache, TqCudaLayer, TqLayer, TqSlidingLayer, enable
from libtqkv.transformers.cuda import Steps
from libtqkv.transformers.places import Move, Rule
from standin_cuda import OnCuda, cuda, standin_library  # noqa: F401: fixtures


@pytest.fixture(autouse=True)
def float_on_the_cpu(monkeypatch):
    """What the CPU's layers compute is float32 too: integers round by chunks of positions, which a device cuts elsewhere."""
    usual = TqLayer.attend
    monkeypatch.setattr(TqLayer, "attend", lambda self, query, mask, options: usual(self, query, mask, {**options, "arithmetic": "float"}))


def keys(heads=2, n=48, dim=64, dtype=torch.float32):
    torch.manual_seed(3)
    return (torch.randn(heads, n, dim) + 2 * torch.randn(heads, 1, dim)).to(dtype)


def same(device, host):
    pairs = [(device.codes, host.codes), (device.norms, host.norms)] + ([] if host.centre is None else [(device.centre, host.centre)])
    return all(x.is_cuda and np.array_equal(x.cpu().numpy(), y) for x, y in pairs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("centre, stretch", [(None, 0), ("learn", 0), ("learn", 16)])
def test_codes_are_the_cpus(cuda, dtype, centre, stretch):
    x, codec = keys(dtype=dtype), Codec("tq4", 64)
    host, device = (codec.encode(a, centre, centre_stretch=stretch) for a in (x, cuda(x)))
    assert isinstance(device, Codes) and same(device, host)
    view = cuda(x.transpose(0, 1).contiguous()).transpose(0, 1)  # as models have it
    assert same(codec.encode(view, centre, centre_stretch=stretch), host)
    back = device.decode()
    assert back.is_cuda and np.array_equal(back.cpu().numpy(), host.decode())
    room = cuda(torch.zeros(2, 48, 64))
    assert device.decode(room, rotated=True) is room and np.array_equal(room.cpu().numpy(), host.decode(rotated=True))
    home = device.to("cpu")
    assert isinstance(home.codes, np.ndarray) and np.array_equal(home.decode(), host.decode())
    given = codec.encode(cuda(x), None if centre is None else device.centre, centre_stretch=stretch, out=device)
    assert given is device and same(device, host)


def test_v1(cuda):
    x, codec = keys(dim=256), Codec("tq4-v1", 256)
    assert same(codec.encode(cuda(x)), codec.encode(x))
    assert np.array_equal(codec.encode(cuda(x)).decode().cpu().numpy(), codec.encode(x).decode())


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("options", [{}, {"scale": 0.3, "softcap": 20.0}, {"window": 9}, {"causal": False},
                                     {"window": 9, "sink_positions": 2}])
def test_attention_is_the_cpus(cuda, n, options):
    for dtype in (torch.float32, torch.float16):
        x, q = keys(), torch.randn(6, n, 64).to(dtype)
        k, v = Codec("tq6", 64), Codec("tq4", 64)
        for stretch in (0, 16):
            on_host = attention(q, k.encode(x, "learn", centre_stretch=stretch), v.encode(x * 2), lse=True,
                                arithmetic="float", **options)
            on_device = attention(cuda(q), k.encode(cuda(x), "learn", centre_stretch=stretch), v.encode(cuda(x * 2)),
                                  lse=True, **options)
            for a, b in zip(on_device, on_host):
                assert a.is_cuda and a.dtype == b.dtype and torch.equal(a.cpu(), b)
    room = cuda(torch.zeros(6, n, 64))
    assert attention(cuda(q), k.encode(cuda(x), "learn"), v.encode(cuda(x)), out=room) is room and room.cpu().any()
    if n == 1:
        one = attention(cuda(q[:, 0].float()), k.encode(cuda(x)), v.encode(cuda(x)))
        assert torch.equal(one.cpu(), attention(q[:, 0].float(), k.encode(x), v.encode(x), arithmetic="float"))


def test_extra_logits_and_slopes(cuda):
    x, q, extra = keys(n=50), torch.randn(4, 3, 64), torch.randn(4)  # 50: no layout of the fast kernels
    k = Codec("tq4", 64)
    for name in ("sinks", "slopes"):
        expected = attention(q, k.encode(x), k.encode(x), arithmetic="float", **{name: extra})
        got = attention(cuda(q), k.encode(cuda(x)), k.encode(cuda(x)), **{name: cuda(extra)})
        assert torch.equal(got.cpu(), expected)


def test_what_is_not_finite_is_told(cuda):
    x = keys()
    for value, status in ((float("nan"), Status.NOT_FINITE), (1e30, Status.RANGE)):
        x[1, 7, 3] = value
        with pytest.raises(TqkvError) as caught:
            Codec("tq4", 64).encode(cuda(x))
        assert (caught.value.status, caught.value.field) == (status, "x")
        assert np.unravel_index(caught.value.index, x.shape) == (1, 7, 3)


def test_refusals(cuda, tmp_path):
    x, codec, before = keys(), Codec("tq4", 64), OnCuda.asked
    codes, host = codec.encode(cuda(x)), codec.encode(x)
    assert OnCuda.asked > before  # by DLPack, and on the stream that it checks
    q = cuda(torch.randn(4, 2, 64))
    cases = [(Status.DEVICE, lambda: attention(q, host, codes)), (Status.DEVICE, lambda: attention(q, codes, x)),
             (Status.DEVICE, lambda: attention(q.cpu(), codes, codes)), (Status.DEVICE, lambda: codec.encode(x, out=codes)),
             (Status.DEVICE, lambda: codec.encode(cuda(x), out=host)), (Status.DEVICE, lambda: host.decode(cuda(x))),
             (Status.DEVICE, lambda: codec.rotate(cuda(x))), (Status.DEVICE, lambda: codes.save(tmp_path / "x.safetensors")),
             (Status.DEVICE, lambda: attention(q, codes, codes, sinks=torch.ones(4))),
             (Status.UNSUPPORTED, lambda: attention(q, codes, codes, partial=True)),
             (Status.UNSUPPORTED, lambda: attention(q, codes, codes, query_end=9)),
             (Status.UNSUPPORTED, lambda: attention(q, codes, codes, arithmetic="integer")),
             (Status.SCALE, lambda: attention(q, codes, codes, scale=0)),
             (Status.SIZE, lambda: attention(q, codes, codec.encode(cuda(x[:, :16])))),
             (Status.SIZE, lambda: attention(q, codes, codes, out=q[:, :1])),
             (Status.POSITION, lambda: attention(cuda(torch.randn(4, 49, 64)), codes, codes)),
             (Status.FORMAT, lambda: attention(q, codes, codec.encode(cuda(x), "learn"))),
             (Status.FORMAT, lambda: codec.encode(cuda(x.double()))),
             (Status.STRIDE, lambda: codec.encode(cuda(torch.randn(2, 64, 48).transpose(1, 2)))),
             (Status.HEADS, lambda: attention(cuda(torch.randn(3, 2, 64)), codes, codes))]
    for number, (status, call) in enumerate(cases):
        with pytest.raises(TqkvError) as caught:
            call()
        assert caught.value.status == status, (number, caught.value)


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_nothing_leaks(cuda):
    x, codec, before = keys(n=16), Codec("tq4", 64), None
    device, q, host = cuda(x), cuda(torch.randn(4, 1, 64)), codec.encode(x)
    count = sys.getrefcount(device)
    for i in range(1200):
        codes = codec.encode(device)
        codes.decode()
        attention(q, codes, codes, lse=True)
        with pytest.raises(TqkvError):
            codec.encode(device, out=host)
        if i == 200:
            gc.collect()
            before = resident()
    gc.collect()
    assert resident() - before < 2 << 20 and sys.getrefcount(device) == count


def doctor(**environment):
    done = subprocess.run([sys.executable, "-m", "libtqkv", "doctor"], capture_output=True, text=True,
                          env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_doctor(standin_library, tmp_path):
    assert f"{standin_library}\n              cuda:0 Stand-in, compute capability 9.0" in doctor(TQKV_CUDA_LIBRARY=str(standin_library))
    assert "CUDA tensors are refused: libtqkv_cuda cannot be opened" in doctor(TQKV_CUDA_LIBRARY=str(tmp_path / "none.so"))
    (tmp_path / "empty.c").touch()
    subprocess.run(["cc", "-shared", "-o", tmp_path / "other.so", tmp_path / "empty.c"], check=True)
    assert "is no libtqkv_cuda of this version" in doctor(TQKV_CUDA_LIBRARY=str(tmp_path / "other.so"))


def step(layer, on, k, v, q, options, mask=None):
    layer.update(on(k), on(v))
    return layer.attend(on(q), mask if mask is None else on(mask), options)


def drawn(n, batch=3, heads=4, dtype=torch.float32):
    return [torch.randn(batch, h, n, 64).to(dtype) for h in (2, 2, heads)]


KINDS = ["tq6/tq4+unbiased", "default", "tq4+centre=all", "tq8/tq4+centre=48+sinks=5", "tq4+recent=7+sinks=3", "tq4+sinks=2",
         "tq6/tq4+centre=64+recent=90"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("window", [None, 24])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layers_attend_as_the_cpus_do(cuda, kind, window, dtype):
    """A long prompt in chunks, steps, rows moved and repeated, crops, and more: all outputs are the same, and of rings and
    chunks, which are cut elsewhere, the same but for roundings."""
    torch.manual_seed(5)
    options = {"scale": 0.2, "softcap": None}
    host = TqLayer(kind, 2000) if window is None else TqSlidingLayer(window, kind)
    device = TqCudaLayer(kind, 2000, window)
    host.chunk = window and device.chunk  # what is in float16 depends on how a prompt was cut
    assert device.get_max_length() == host.get_max_length() and device.batch_size == -1

    def both(n, batch=3):
        data = drawn(n, batch, dtype=dtype)
        expected, got = step(host, lambda x: x, *data, options), step(device, cuda, *data, options)
        near = {torch.float32: 2e-6, torch.bfloat16: 2e-2}[dtype] if window or n > device.chunk else 0
        assert got.is_cuda and got.dtype == dtype and torch.allclose(got.cpu(), expected, rtol=near, atol=near), n
        assert device.seen == host.seen and device.get_mask_sizes(3) == host.get_mask_sizes(3)
        assert [row.encoded_end for row in host.rows] == device.encoded

    for n in (3, 1, 1, 70, 1, 600, *[1] * 70, 7, 1):
        both(n)
    for layer in (host, device):
        layer.reorder_cache(torch.tensor([2, 0, 0]))
        layer.batch_repeat_interleave(2)
        layer.batch_select_indices(torch.tensor([0, 3, 5, 1]))
    both(1, batch=4)
    for crop in (5, 1, 140):
        for layer in (host, device):
            layer.crop(-crop)
        for n in (1, 9, *[1] * 60, 300, 1):
            both(n, batch=4)
    if window is None and kind == KINDS[0]:
        assert device.nbytes_used == host.nbytes_used and device.nbytes < 2 * device.nbytes_used
    for layer in (host, device):
        layer.reset()
    both(2)


def test_centres_of_rows_that_are_padded(cuda):
    """Rows whose stretches begin in different steps, and keys with a mean that a centre is for."""
    torch.manual_seed(8)
    kind, options, mean = "tq4/tq6+centre=64+recent=32+sinks=2", {"scale": None}, 3 * torch.randn(1, 2, 1, 64)
    host, device = TqLayer(kind, 400), TqCudaLayer(kind, 400)
    real = torch.ones(3, 90, dtype=torch.bool)
    real[1, :37] = real[2, :89] = False
    for n in (90, *[1] * 150):
        before = real.shape[1] - 90 if n == 90 else real.shape[1]
        if n == 1:
            real = torch.cat([real, torch.ones(3, 1, dtype=torch.bool)], 1)
        mask = (torch.ones(n, before + n, dtype=torch.bool).tril(before) & real[:, None])[:, None]
        k, v, q = drawn(n)
        expected, got = step(host, lambda x: x, k + mean, v, q, options, mask), step(device, cuda, k + mean, v, q, options, mask)
        seen = real[:, -n:]
        assert torch.equal(got.cpu()[seen], expected[seen])
    assert [row.encoded_end for row in host.rows] == device.encoded == [192, 171, 119]
    for row, end, held in zip(host.rows, device.encoded, device.centres):
        for stretch in range((end - 1) // 64 + 1):
            centre = row.k_centre(max(64 * stretch, 2))
            assert centre is not None and np.array_equal(centre, held[stretch].cpu().numpy())


def test_places_are_the_cpus():
    """What is encoded at each length, for rules, pieces and rewinds drawn at random."""
    rng = np.random.default_rng(4)
    for _ in range(60):
        sinks, recent, learn = (int(x) for x in rng.integers(0, [8, 40, 2]))
        stretch = int(rng.integers(1, 90)) if learn else 0
        kind = "tq4" + f"+sinks={sinks}" * (sinks > 0) + f"+recent={recent}" * (recent > 0) + f"+centre={stretch}" * learn
        host, rule, encoded = Cache(1, 64, kind, capacity=1000), Rule(*_core.kind(kind, 1000)), 0
        while host.length < 900:
            n = int(rng.choice([1, 1, 1, 2, 30, 150], p=[.3, .2, .2, .1, .1, .1]))
            n = min(n, 1000 - host.length)
            move = Move(rule, [host.length], [n], [encoded], n, 1000, 1000)
            host.append(*np.zeros((2, n, 1, 64), np.float32))
            encoded = move.ends[0]
            assert encoded == host.encoded_end, (kind, host.length)
            if rng.random() < 0.1:
                back = int(rng.integers(0, host.length + 1))
                host.truncate(back)
                encoded = min(encoded, back)
                assert encoded == host.encoded_end, (kind, host.length)


def test_padded_rows(cuda):
    torch.manual_seed(6)
    host, device, options = TqLayer("tq4", 100), TqCudaLayer("tq4", 100), {"scale": None}
    real = torch.ones(3, 20, dtype=torch.bool)
    real[1, :7] = real[2, :19] = False
    mask = (torch.ones(20, 20, dtype=torch.bool).tril() & real[:, None])[:, None]
    data = drawn(20)
    expected, got = step(host, lambda x: x, *data, options, mask), step(device, cuda, *data, options, mask)
    assert torch.equal(got.cpu()[real], expected[real]) and device.pads == host.pads == [0, 7, 19]
    assert not got.cpu()[~real].any()
    data, mask = drawn(1), torch.cat([real, torch.ones(3, 1, dtype=torch.bool)], 1)[:, None, None]
    expected, got = step(host, lambda x: x, *data, options, mask), step(device, cuda, *data, options, mask)
    assert torch.equal(got.cpu(), expected)


def test_what_layers_refuse(cuda):
    for kind in ("f16", "tq4/bf16", "bf16/tq4+recent"):
        with pytest.raises(TqkvError, match="both in codes") as caught:
            TqCudaLayer(kind, 100)
        assert caught.value.status == Status.UNSUPPORTED
    for kind, capacity, status in (("tq9", 10, Status.FORMAT), ("tq4", 0, Status.POSITION), ("tq4+plain+plain", 9, Status.NORM_RULE),
                                   ("tq4+recent=10", 9, Status.POSITION), ("tq4+centre=x", 9, Status.POSITION)):
        with pytest.raises(TqkvError) as caught:
            TqCudaLayer(kind, capacity)
        assert caught.value.status == status
    layer = TqCudaLayer("tq4", 10)
    with pytest.raises(ValueError, match="for_model"):
        step(layer, lambda x: x, *drawn(2), {})
    with pytest.raises(ValueError, match="for_model"):
        TqLayer("tq4", 10).update(*map(cuda, drawn(2)[:2]))
    layer.reset()
    step(layer, cuda, *drawn(9), {})
    with pytest.raises(TqkvError, match="capacity is 10"):
        step(layer, cuda, *drawn(2), {})
    ring = TqCudaLayer("tq4", 10, 24)
    for n in (800, 1):
        step(ring, cuda, *drawn(n), {})
    with pytest.raises(TqkvError, match="back to 200"):
        ring.crop(-601)


def test_faults_are_told_a_step_later(cuda):
    steps = Steps()
    first, second = TqCudaLayer("tq4", 50, None, steps), TqCudaLayer("tq4", 50, None, steps)
    k, v, q = drawn(4)
    step(first, cuda, k, v, q, {})
    v[1, 0, 2, 5] = float("inf")
    step(second, cuda, k, v, q, {})
    with pytest.raises(TqkvError, match="step before") as caught:
        step(first, cuda, *drawn(1), {})
    assert caught.value.status == Status.NOT_FINITE


def test_faults_end_with_a_reset_and_are_found_in_sinks(cuda):
    layer = TqCudaLayer("tq4+recent=4+sinks=2", 50)
    for value in (float("nan"), 1e5):  # which float16 does not hold
        layer.reset()
        k, v, q = drawn(4)
        k[1, 0, 1, 5] = value
        step(layer, cuda, k, v, q, {})
        with pytest.raises(TqkvError, match="step before"):
            step(layer, cuda, *drawn(1), {})
        layer.reset()
        for n in (4, 1):
            assert step(layer, cuda, *drawn(n), {}).cpu().isfinite().all()
        k[1, 0, 1, 5] = value
        layer.reset()
        step(layer, cuda, k, v, q, {})
        layer.reset()  # before anybody looked
        for n in (4, 1):
            step(layer, cuda, *drawn(n), {})


@pytest.mark.parametrize("kind", ["tq4", "default", "tq4+sinks=20", "tq4+centre=16"])
def test_modes_of_pytorch_in_turns(cuda, kind):
    layer = TqCudaLayer(kind, 500)
    for mode, n in ((torch.inference_mode, 70), (torch.no_grad, 1), (torch.inference_mode, 300), (torch.no_grad, 70)):
        with mode():
            step(layer, cuda, *drawn(n), {})
            layer.reorder_cache(torch.tensor([1, 0, 2]))
            layer.crop(-2)


@pytest.mark.parametrize("n", [1, 4])
def test_layers_that_share_positions_of_padded_rows(cuda, n):
    torch.manual_seed(7)
    host, device = TqLayer("tq4", 100), TqCudaLayer("tq4", 100)
    real = torch.ones(3, 20, dtype=torch.bool)
    real[1, :7] = real[2, :19] = False
    for m in (20, n, n):
        before = real.shape[1] if m == n else 0
        if m == n:
            real = torch.cat([real, torch.ones(3, n, dtype=torch.bool)], 1)
        mask = (torch.ones(m, before + m, dtype=torch.bool).tril(before) & real[:, None])[:, None]
        data, other = drawn(m), drawn(m)[2]
        seen = real[:, -m:]
        for query in (data[2], other):
            expected, got = (step(layer, on, *data[:2], query, {}, mask) if query is data[2] else layer.attend(on(query), on(mask), {})
                             for layer, on in ((host, lambda x: x), (device, cuda)))
            assert torch.equal(got.cpu()[seen], expected[seen])
        assert host.pads == device.pads == [0, 7, 19]


def test_a_window_emptied_and_filled_again(cuda):
    layer = TqCudaLayer("tq4", 50, 24)
    step(layer, cuda, *drawn(2000), {})
    layer.crop(-2000)
    step(layer, cuda, *drawn(600), {})
    layer.crop(-1)
    assert layer.seen == 599
    layer._pending = None
    with pytest.raises(TqkvError, match="shares another's window"):
        layer.attend(cuda(drawn(600)[2]), None, {})


def test_for_model_chooses(llama, standin_library, monkeypatch):
    class OnDevice:
        config, device = llama.config, torch.device("cuda", 0)

    monkeypatch.setenv("TQKV_CUDA_LIBRARY", str(standin_library))
    assert {type(layer) for layer in TqCache.for_model(OnDevice, "tq6/tq4").layers} == {TqCudaLayer}
    assert {layer.rule for layer in TqCache.for_model(OnDevice).layers} == {Rule(1, 64, 64, 256)}
    with pytest.raises(TqkvError, match="both in codes"):
        TqCache.for_model(OnDevice, "f16")


class Bridge(TqCudaLayer):
    """Of a model on the CPU, whose tensors are said to be on a device on their way in."""

    def update(self, k, v, *args, **kwargs):
        return super().update(k.as_subclass(OnCuda), v.as_subclass(OnCuda), *args, **kwargs)

    def attend(self, query, mask, options):
        return super().attend(query.as_subclass(OnCuda), mask if mask is None else mask.as_subclass(OnCuda), options).cpu()


@pytest.mark.parametrize("kind", ["tq8/tq6", "tq8+centre+recent=80+sinks"])
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"prompt_lookup_num_tokens": 4}, {"num_return_sequences": 2, "num_beams": 2}])
def test_models_write_what_they_write_on_the_cpu(cuda, llama, gemma3, prompts, kind, options):
    for model in (llama, gemma3):
        enable(model)
        ids, mask = (x[:1] if "prompt_lookup_num_tokens" in options else x for x in prompts)
        texts = []
        windows = [getattr(layer, "sliding_window", None) for layer in TqCache.for_model(model).layers]
        for cache in (TqCache.for_model(model, kind), TqCache(layers=[Bridge(kind, 2048, w) for w in windows])):
            texts.append(model.generate(ids, attention_mask=mask, past_key_values=cache, max_new_tokens=40, do_sample=False, **options))
        assert torch.equal(*texts)
