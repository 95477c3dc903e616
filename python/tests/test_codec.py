# SPDX-License-Identifier: MIT
"""Encoding and decoding: results, shapes, types and strides."""

import numpy as np
import pytest

import libtqkv
from libtqkv import Codec, Status, TqkvError


def relative_error(a, b):
    return float(((a - b) ** 2).sum() / (b ** 2).sum())


# Distortion of converged Lloyd-Max quantisers on Gaussian values.
GAUSSIAN = {"tq2": 0.1175, "tq3": 0.03454, "tq4": 0.009497, "tq5": 0.002499, "tq6": 0.000644, "tq8": 4.1e-5}


@pytest.mark.parametrize("name", GAUSSIAN)
def test_error_is_the_theorys(rng, name):
    x = rng.standard_normal((2, 500, 128), np.float32)
    codes = Codec(name, 128).encode(x)
    assert relative_error(codes.decode(), x) == pytest.approx(GAUSSIAN[name], rel=0.06)
    bits = int(name[2])
    assert codes.codes.shape == (2, 500, 16 * bits) and codes.norms.shape == (2, 500)
    assert codes.bits_per_value == Codec(name, 128).bits_per_value == bits + 0.125
    assert codes.nbytes == 2 * 500 * (16 * bits + 2)


@pytest.mark.parametrize("name, dim, norms", [("tq4-v1", 256, 1), ("tq5-v1", 512, 2), ("tq8-v1", 256, 1)])
def test_v1(rng, name, dim, norms):
    x = rng.standard_normal((2, 50, dim), np.float32)
    codes = Codec(name, dim).encode(x)
    assert codes.norms.dtype == np.float32 and codes.norms.shape == (2, 50, norms)
    assert relative_error(codes.decode(), x) < 0.012


def test_half_types_are_widened_exactly(rng):
    codec = Codec("tq6", 96)
    x = rng.standard_normal((3, 700, 96)).astype(np.float16)
    x[0, 0, :4] = 6e-8, -3e-7, 0.0, 65504  # subnormal numbers and the largest
    x[0, 0, 4:] = 0
    centre = rng.standard_normal((3, 3, 96)).astype(np.float32)
    for stretch, c in ((0, None), (0, centre[0]), (256, centre)):
        narrow = codec.encode(x, c, centre_stretch=stretch)
        wide = codec.encode(x.astype(np.float32), c, centre_stretch=stretch)
        assert np.array_equal(narrow.codes, wide.codes) and np.array_equal(narrow.norms, wide.norms)


def test_bfloat16_of_ml_dtypes(rng):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = rng.standard_normal((2, 40, 64)).astype(ml_dtypes.bfloat16)
    codec = Codec("tq4", 64)
    assert np.array_equal(codec.encode(x).codes, codec.encode(x.astype(np.float32)).codes)


def test_strides_are_taken_as_they_are(rng):
    codec = Codec("tq4", 64)
    fused = rng.standard_normal((100, 9, 70), np.float32)  # positions outermost, other heads and a gap
    x = fused[:, 2:6, 3:67].transpose(1, 0, 2)
    plain = codec.encode(np.ascontiguousarray(x))
    for dtype in (np.float32, np.float16):
        view = fused.astype(dtype)[:, 2:6, 3:67].transpose(1, 0, 2)
        expected = codec.encode(np.ascontiguousarray(view))
        assert np.array_equal(codec.encode(view).codes, expected.codes)
    out = np.zeros_like(fused)
    back = plain.decode(out[:, 2:6, 3:67].transpose(1, 0, 2))
    assert np.array_equal(back, plain.decode()) and not out[:, :2].any() and not out[:, :, :3].any()


def test_two_dimensions_are_one_head(rng):
    x = rng.standard_normal((10, 32), np.float32)
    assert Codec("tq4", 32).encode(x).shape == (1, 10, 32)
    assert Codec("tq4", 32).encode(memoryview(x)).shape == (1, 10, 32)


def test_nothing_is_copied(rng):
    """What is written to where `out` lies is what is read there: by address."""
    codec = Codec("tq4", 128)
    x = rng.standard_normal((1, 64, 128), np.float32)
    codes = codec.encode(x)
    at = codes.codes.ctypes.data, codes.norms.ctypes.data
    x[:] = 0
    assert codec.encode(x, out=codes) is codes
    assert (codes.codes.ctypes.data, codes.norms.ctypes.data) == at and not codes.norms.any()
    out = np.ones((1, 64, 128), np.float32)
    address = out.ctypes.data
    assert codes.decode(out) is out and out.ctypes.data == address and not out.any()


def test_large_input_takes_no_second_one(rng):
    """Peak memory: 256 MiB go in, and nothing like them is taken."""
    import resource
    codec, out = Codec("tq2", 1024), None
    x = np.full((1, 1 << 16, 1024), 0.5, np.float32)
    out = codec.encode(x)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    codec.encode(x, out=out)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10


def test_centre(rng):
    codec = Codec("tq4", 64)
    x = rng.standard_normal((2, 600, 64), np.float32) + 8
    bare, centred = codec.encode(x), codec.encode(x, "learn")
    assert relative_error(centred.decode(), x) < relative_error(bare.decode(), x) / 20
    assert centred.centre.shape == (1, 2, 64) and centred.centre.dtype == np.float16
    assert np.array_equal(centred.centre[0], codec.learn_centre(x))
    given = codec.encode(x, centred.centre[0])
    assert np.array_equal(given.codes, centred.codes)
    stretches = codec.encode(x, "learn", centre_stretch=256)
    assert stretches.centre.shape == (3, 2, 64) and stretches.nbytes == bare.nbytes + 3 * 2 * 64 * 2
    with pytest.raises(TqkvError) as caught:
        codec.encode(x, np.zeros((2, 2, 64)), centre_stretch=256)
    assert caught.value.status == Status.SIZE and "centre" in caught.value.field


def test_rotate(rng):
    codec = Codec("tq4", 80)
    x = rng.standard_normal((3, 5, 80), np.float32)
    turned = codec.rotate(x)
    assert turned.shape == x.shape and np.allclose((turned ** 2).sum(-1), (x ** 2).sum(-1), rtol=1e-5)
    assert np.allclose(codec.rotate(turned, inverse=True), x, atol=1e-5)
    codes = codec.encode(x)
    assert np.allclose(codec.rotate(codes.decode()), codes.decode(rotated=True), atol=1e-5)
    same = x.copy()
    assert codec.rotate(same, out=same) is same and np.array_equal(same, turned)


def test_threads_do_not_change_bytes(rng):
    x = rng.standard_normal((3, 2000, 64), np.float32)
    before, results = libtqkv.get_threads(), []
    try:
        for n in (1, 2, 5):
            libtqkv.set_threads(n)
            assert libtqkv.get_threads() == n
            results.append(Codec("tq5", 64).encode(x).codes)
    finally:
        libtqkv.set_threads(before)
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])
    for bad in (0, 257, -1):
        with pytest.raises(TqkvError):
            libtqkv.set_threads(bad)


def test_centres_of_half_types(rng):
    """What is learned of float16 is what is learned of the same values in float32; failures name the element."""
    x = (rng.standard_normal((3, 70, 64), np.float32) + 2 * rng.standard_normal((3, 1, 64), np.float32)).astype(np.float16)
    codec = Codec("tq4", 64)
    assert np.array_equal(codec.learn_centre(x), codec.learn_centre(x.astype(np.float32)))
    view = x[::2, 3:60]
    assert np.array_equal(codec.learn_centre(view), codec.learn_centre(view.astype(np.float32)))
    for stretch in (0, 16):
        half, single = (codec.encode(a, "learn", centre_stretch=stretch) for a in (x, x.astype(np.float32)))
        assert np.array_equal(half.codes, single.codes) and np.array_equal(half.centre, single.centre)
    for dtype in (np.float16, np.float32):
        bad = x.astype(dtype)
        bad[2, 5, 7] = np.nan
        with pytest.raises(TqkvError, match=r"^x\[") as caught:
            codec.learn_centre(bad)
        assert (caught.value.status, caught.value.field) == (Status.NOT_FINITE, "x")
        assert np.unravel_index(caught.value.index, bad.shape) == (2, 5, 7)
    with pytest.raises(TqkvError) as caught:
        codec.learn_centre(x[:, :0])
    assert caught.value.status == Status.POSITION
