# SPDX-License-Identifier: MIT
"""The example that needs transformers, and tensors of PyTorch's in the calls that take NumPy's."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import libtqkv
from libtqkv import Cache, Codec, Status, TqkvError, attention


def test_generate():
    example = Path(os.environ["TQKV_SOURCE"]) / "examples/python/generate.py"
    done = subprocess.run([sys.executable, example], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "65 positions in" in done.stdout and "deprecated" not in done.stderr, done.stderr


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_tensors(dtype):
    torch.manual_seed(1)
    x = torch.randn(50, 2, 64).to(dtype)
    codec, cache = Codec("tq4", 64), Cache(2, 64, "tq4", capacity=64)
    by_heads = x.transpose(0, 1)  # a view, as models have it
    assert np.array_equal(codec.encode(by_heads).codes, codec.encode(by_heads.float().numpy()).codes)
    cache.append(x, x)
    other = Cache(2, 64, "tq4", capacity=64)
    other.append(x.float().numpy(), x.float().numpy())
    assert cache.export_block() == other.export_block()
    out = cache.attend(x[:3])
    assert isinstance(out, torch.Tensor) and out.dtype == dtype and out.shape == (3, 2, 64)
    room = torch.zeros(3, 2, 64)
    address = room.data_ptr()
    assert cache.attend(x[:3], out=room) is room and room.data_ptr() == address and room.any()
    assert attention(by_heads, by_heads, by_heads).dtype == dtype


def test_what_tensors_are_refused():
    codec = Codec("tq4", 64)
    for bad, status in ((torch.zeros(4, 64, dtype=torch.float64), Status.FORMAT),
                        (torch.zeros(64, 4).T, Status.STRIDE), (torch.zeros(1, 64).expand(4, 64), Status.STRIDE)):
        with pytest.raises(TqkvError) as caught:
            codec.encode(bad)
        assert (caught.value.status, caught.value.field) == (status, "x")
    with pytest.raises((RuntimeError, BufferError), match="grad"):
        codec.encode(torch.zeros(4, 64, requires_grad=True))
    with pytest.raises(Exception):
        codec.encode(torch.zeros(4, 64, device="meta"))


class OnCuda:
    """What a tensor on a GPU says of itself by DLPack."""

    shape = (1, 4, 64)

    def __dlpack_device__(self):
        return 2, 1

    def __dlpack__(self, **options):
        raise AssertionError("not asked: the device was refused")


def test_cuda_is_told():
    with pytest.raises(TqkvError, match="CUDA device 1.*cpu") as caught:
        libtqkv.Codec("tq4", 64).encode(OnCuda())
    assert caught.value.status == Status.DEVICE
