# SPDX-License-Identifier: MIT
"""A device for machines without one: tensors of the CPU's that say they are on CUDA, and a libtqkv_cuda that works on
them (standin_cuda.c)."""

import contextlib
import ctypes
import os
import subprocess
from pathlib import Path

import pytest
import torch

from libtqkv import _core, _cuda

STREAM = 77
get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def tensors(x):
    if isinstance(x, torch.Tensor):
        return [x]
    parts = x.values() if isinstance(x, dict) else x if isinstance(x, (tuple, list)) else ()
    return [tensor for part in parts for tensor in tensors(part)]


class OnCuda(torch.Tensor):
    """What is made of one says so too. Beside another tensor on the CPU, but for numbers and indices, it is refused, as on
    a device."""

    is_cuda = True
    device = torch.device("cuda", 0)
    asked = 0  # for streams

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function.__name__ not in ("__getitem__", "__setitem__", "copy_", "__get__", "as_subclass"):
            apart = [x for x in tensors((args, kwargs)) if not isinstance(x, OnCuda) and x.dim() > 0]
            assert not apart, f"{function.__name__}(): tensors on a device and on the CPU"
        return super().__torch_function__(function, types, args, kwargs or {})

    def cpu(self):
        return self.as_subclass(torch.Tensor)

    def to(self, *what, **named):
        if what and str(what[0]).startswith("cuda"):
            return self
        return self.cpu() if what and str(what[0]) == "cpu" else super().to(*what, **named)

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, *, stream=None, max_version=None):
        assert stream == STREAM, f"asked for on stream {stream}, and not the current one"
        OnCuda.asked += 1
        capsule = self.cpu().__dlpack__()
        ctypes.cast(get_pointer(capsule, b"dltensor") + 8, ctypes.POINTER(ctypes.c_int32))[0] = 2  # its device's type
        return capsule


def on_cuda(x):
    return x.as_subclass(OnCuda)


def made(function):
    """torch's, for which "cuda" is the CPU with that said."""
    def make(*shape, device=None, **options):
        here = device is not None and torch.device(device).type == "cuda"
        x = function(*shape, device=None if here else device, **options)
        return on_cuda(x) if here else x
    return make


def build(folder):
    root, library = Path(os.environ["TQKV_SOURCE"]), folder / "libstandin.so"
    static = next(Path(os.environ["TQKV"]).parents[1].glob("**/libtqkv.a"))
    subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC",
                    f"-I{root}/include", str(Path(__file__).with_name("standin_cuda.c")), "-o", str(library),
                    "-Wl,--whole-archive", str(static), "-Wl,--no-whole-archive", "-lm", "-fopenmp"], check=True)
    return library


@pytest.fixture(scope="session")
def standin_library(tmp_path_factory):
    return build(tmp_path_factory.mktemp("standin"))


@pytest.fixture
def cuda(monkeypatch, standin_library):
    """A device, and on_cuda() to put tensors on it."""
    stream = type("Stream", (), {"cuda_stream": STREAM})
    monkeypatch.setenv("TQKV_CUDA_LIBRARY", str(standin_library))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: stream)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    for name in ("empty", "full", "arange", "zeros", "tensor"):
        monkeypatch.setattr(torch, name, made(getattr(torch, name)))
    from_numpy = torch.from_numpy
    monkeypatch.setattr(_cuda, "moved", lambda array, like: None if array is None else on_cuda(from_numpy(array)))
    monkeypatch.setattr(_cuda, "onto", lambda host, like: on_cuda(host))
    _cuda.load()
    assert _core.cuda_devices()[0][0] == "Stand-in"
    return on_cuda
