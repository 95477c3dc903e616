# SPDX-License-Identifier: MIT
"""What is refused: with status, field and index, and nothing is lost."""

import pickle

import numpy as np
import pytest

from libtqkv import Codec, Status, TqkvError

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
