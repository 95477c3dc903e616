# SPDX-License-Identifier: MIT
"""What is refused: with status, field and index, and nothing is lost."""

import pickle

import numpy as np
import pytest

from libtqkv import Cache, Codec, PagePool, Status, TqkvError

CODEC = Codec("tq4", 64)


def refused(status, field, call, *arguments, **named):
    with pytest.raises(TqkvError) as caught:
        call(*arguments, **named)
    assert (caught.value.status, caught.value.field) == (status, field), caught.value
    return caught.value


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.uint8, bool, np.complex64, ">f4"])
def test_types(dtype):
    error = refused(Status.FORMAT, "x", CODEC.encode, np.ones((1, 4, 64)).astype(dtype))
    assert "float32" in str(error) and isinstance(error, ValueError)


def test_types_are_called_what_numpy_calls_them():
    for dtype in (np.float64, np.int8, np.int32, np.int64, np.complex64, bool):
        error = refused(Status.FORMAT, "x", CODEC.encode, np.ones((1, 4, 64)).astype(dtype))
        assert f"type {np.dtype(dtype).name}," in str(error)


@pytest.mark.parametrize("x", [[1.0], None, 7, "text"])
def test_what_is_no_array(x):
    with pytest.raises(TypeError, match="x must be an array"):
        CODEC.encode(x)


@pytest.mark.parametrize("shape", [(64,), (1, 1, 4, 64), (4, 63), (2, 4, 65)])
def test_shapes(shape):
    refused(Status.SIZE, "x", CODEC.encode, np.zeros(shape, np.float32))


def test_strides():
    x = np.zeros((2, 8, 128), np.float32)
    refused(Status.STRIDE, "x", CODEC.encode, x[:, :, ::2])
    refused(Status.STRIDE, "x", CODEC.encode, x[:, ::-1, :64])
    refused(Status.STRIDE, "x", CODEC.encode, np.broadcast_to(x[:, :1, :64], (2, 8, 64)))
    refused(Status.STRIDE, "x", CODEC.encode, np.lib.stride_tricks.as_strided(x, (2, 8, 64), (4096, 128, 4)))
    odd = np.frombuffer(bytearray(4 * 64 * 4 + 1), np.uint8)[1:].view(np.float32).reshape(1, 4, 64)
    refused(Status.STRIDE, "x", CODEC.encode, odd)


@pytest.mark.parametrize("dtype, bad, status", [
    (np.float32, np.nan, Status.NOT_FINITE), (np.float32, -np.inf, Status.NOT_FINITE),
    (np.float32, 1e30, Status.RANGE), (np.float16, np.nan, Status.NOT_FINITE), (np.float16, np.inf, Status.NOT_FINITE)])
def test_values_have_an_index(dtype, bad, status):
    x = np.zeros((3, 500, 64), dtype)
    x[1, 400, 9] = bad
    x[2, 3, 4] = bad
    error = refused(status, "x", CODEC.encode, x)
    assert np.unravel_index(error.index, x.shape) == (1, 400, 9)
    assert f"x[{error.index}]" in str(error)


def test_names_and_dimensions():
    refused(Status.FORMAT, "format", Codec, "tq9", 64)
    refused(Status.HEAD_DIM, "head_dim", Codec, "tq4", 60)
    refused(Status.HEAD_DIM, "head_dim", Codec, "tq4-v1", 128)
    refused(Status.HEAD_DIM, "head_dim", Codec, "tq4", -64)
    with pytest.raises(TqkvError) as caught:
        Codec("tq4", 64, norm_rule="wrong")
    assert caught.value.status == Status.NORM_RULE
    with pytest.raises(TqkvError):
        Codec("tq4-v1", 512, scale_factor_d512=0.0)


def test_outputs():
    codes = CODEC.encode(np.ones((1, 4, 64), np.float32))
    fixed = np.zeros((1, 4, 64), np.float32)
    fixed.flags.writeable = False
    refused(Status.UNSUPPORTED, "out", codes.decode, fixed)
    refused(Status.SIZE, "out", codes.decode, np.zeros((1, 5, 64), np.float32))
    refused(Status.FORMAT, "out", codes.decode, np.zeros((1, 4, 64), np.float16))
    with pytest.raises(ValueError, match="out is"):
        CODEC.encode(np.ones((1, 5, 64), np.float32), out=codes)
    with pytest.raises(TypeError, match="out must be Codes"):
        CODEC.encode(fixed, out=fixed)


def test_arrays_of_nothing():
    """Their strides, often 0, are of no moment."""
    x = np.zeros((2, 8, 64), np.float32)
    assert CODEC.encode(x[:, :0]).shape == (2, 0, 64) and CODEC.encode(x[:0]).decode().shape == (0, 8, 64)
    cache = Cache(2, 64, capacity=4)
    cache.append(x[:, :0].transpose(1, 0, 2), x[:, :0].transpose(1, 0, 2))
    assert len(cache) == 0
    refused(Status.SIZE, "x", CODEC.encode, x[:, :0], "learn", centre_stretch=4)


@pytest.mark.parametrize("n", [-1, 2**32 + 2, 2**64 + 2])
def test_sizes_are_not_cut(n):
    refused(Status.HEADS, "n_kv_heads", Cache, n, 64, capacity=4)
    refused(Status.HEAD_DIM, "head_dim", Cache, 2, n, capacity=4)
    refused(Status.HEAD_DIM, "v_head_dim", Cache, 2, 64, capacity=4, v_head_dim=n)
    refused(Status.HEADS, "n_kv_heads", PagePool, n, 64, n_pages=1)
    refused(Status.POSITION, "centre_stretch", CODEC.encode, np.zeros((4, 64), np.float32), "learn",
            centre_stretch=n if n < 0 else 2**64 + n)


@pytest.mark.parametrize("n", [-1, 2**64 + 2])
def test_positions_are_not_cut(n):
    refused(Status.POSITION, "capacity", Cache, 2, 64, capacity=n)
    refused(Status.POSITION, "window", Cache, 2, 64, "tq4", capacity=4, policy="ring", window=n)
    refused(Status.SIZE, "n_pages", PagePool, 2, 64, n_pages=n)
    cache = Cache(2, 64, capacity=4)
    cache.append(np.ones((2, 64), np.float32), np.ones((2, 64), np.float32))
    for call in (cache.export_block, cache.decode):
        refused(Status.POSITION, "first", call, n)
        refused(Status.POSITION, "end", call, 0, n)
        refused(Status.POSITION, "end", call, 0, 2)
        refused(Status.POSITION, "end", call, 1, 0)
        refused(Status.POSITION, "end", call, 0, 2**50)


def test_kinds_are_names():
    with pytest.raises(TypeError, match="kind must be a name, not int"):
        Cache(2, 64, 4, capacity=4)


def test_rotate_keeps_shapes():
    x = np.ones((4, 64), np.float32)
    refused(Status.SIZE, "x", CODEC.rotate, x.reshape(2, 128))
    refused(Status.SIZE, "x", CODEC.rotate, x[:, :32])
    refused(Status.SIZE, "out", CODEC.rotate, x, out=np.ones((8, 32), np.float32))
    refused(Status.SIZE, "out", CODEC.rotate, x, out=np.ones((2, 2, 64), np.float32))
    with pytest.raises(TypeError, match="x must be an array"):
        CODEC.rotate([1.0] * 64)


class Exporter:
    """What others' __dlpack_device__() may give."""

    shape = (1, 4, 64)

    def __init__(self, device):
        self.device = device

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **named):
        return np.zeros((1, 4, 64)).__dlpack__()


def test_exporters():
    for device in ("cpu", 1, (1,), (1, 0, 0), None):
        with pytest.raises(TypeError, match="__dlpack_device__"):
            CODEC.encode(Exporter(device))
    assert "type float64," in str(refused(Status.FORMAT, "x", CODEC.encode, Exporter((1, 0))))


def test_released_memory():
    memory = memoryview(np.ones((4, 64), np.float32))
    memory.release()
    with pytest.raises(ValueError, match="released"):
        CODEC.encode(memory)


def test_arrays_are_let_go():
    block = bytearray(4 * 64 * 4)
    memory = memoryview(block).cast("f", (4, 64))
    CODEC.encode(memory)
    with pytest.raises(TqkvError):
        CODEC.encode(memory, np.zeros((3, 64)))
    memory.release()  # refused while somebody reads it
    block.extend(b"more")


def test_errors_travel():
    error = refused(Status.HEAD_DIM, "head_dim", Codec, "tq4", 60)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.status, again.field, again.index) == (
        type(error), str(error), error.status, error.field, error.index)
