# SPDX-License-Identifier: MIT
"""python -m libtqkv doctor: what is installed here, and whether it works."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata

import numpy as np

from . import Codec, TqkvError, __version__, _core, _cuda, formats, get_threads


def version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def describe_cuda() -> list[str]:
    """Where libtqkv_cuda is and what it finds, or why CUDA tensors are refused."""
    path = _cuda.library()
    if path is None:
        return ["CUDA tensors are refused: this package was built without libtqkv_cuda"]
    try:
        _cuda.load()
        found = [f"cuda:{i} {name}, compute capability {major}.{minor}, {memory >> 20} MiB" + ("" if served else ": too old")
                 for i, (name, major, minor, served, memory) in enumerate(_core.cuda_devices())]
        return [path, *(found or ["there is no CUDA device"])]
    except TqkvError as error:
        return [f"CUDA tensors are refused: {error}"]


def describe() -> None:
    print(f"libtqkv       {__version__} (package {version_of('libtqkv')}), {_core.__file__}")
    print(f"python        {platform.python_version()}, {platform.platform()}")
    for package in ("numpy", "torch", "transformers", "lmcache", "matplotlib"):
        print(f"{package:13} {version_of(package)}")
    print("levels        " + ", ".join(name + ("" if here else " (not here)") for name, here in _core.isas()))
    print(f"level in use  {_core.isa()}")
    print(f"threads       {get_threads()}")
    print("devices       cpu" + "".join(f"\n              {line}" for line in describe_cuda()))
    print("formats       " + ", ".join(formats()))


def check() -> list[str]:
    """What does not work, in words."""
    wrong = []
    x = np.random.default_rng(1).standard_normal((2, 64, 256), np.float32)
    for name in formats():
        codec = Codec(name, 256)
        error = float(((codec.encode(x).decode() - x) ** 2).mean() / (x ** 2).mean())
        # The best quantiser of Gaussian values has at most 2.72 of 4^-bits, v1 at 8 bits 4.1.
        limit = 5 * 4.0 ** -int(name[2])
        if not error < limit:
            wrong.append(f"{name}: a relative squared error of {error:.3g}, above {limit:.3g}")
    if _core.isa() != "scalar":
        best, was = Codec("tq4", 256).encode(x), _core.isa()
        _core.isa_set("scalar")
        same = Codec("tq4", 256).encode(x)
        _core.isa_set(was)
        if not np.array_equal(best.codes, same.codes):
            wrong.append(f"level {was} does not give the codes that scalar gives")
    return wrong


def main(arguments: list[str]) -> int:
    if arguments != ["doctor"]:
        print("usage: python -m libtqkv doctor", file=sys.stderr)
        return 2
    try:
        describe()
        wrong = check()
    except TqkvError as error:
        wrong = [f"{error.status.name}: {error}"]
    for line in wrong:
        print(f"self-check    {line}")
    print("self-check    " + ("failed" if wrong else "passed"))
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        status = main(sys.argv[1:])
        if sys.stdout is not None:  # it is closed
            sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # of which `| head` has seen enough
            print(f"doctor: cannot write: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes once more as it ends
        status = 1
    sys.exit(status)
