# SPDX-License-Identifier: MIT
"""tqkv: a transformer's KV cache in 2 to 8 bits a value, attended to as it lies.

Arrays are taken by the buffer protocol and DLPack, without a copy: NumPy's, PyTorch's, and others. CUDA tensors of
PyTorch's are encoded, decoded and attended to on their device, if the package has libtqkv_cuda.
Every call lets go of the interpreter's lock while it works. What the library refuses raises a TqkvError.
"""

from __future__ import annotations

import os as _os

from . import _core
from .cache import Cache, PagePool, attend_batch, attention, block_info, merge
from .codec import Codec, Codes, load
from .sweep import Sweep, sweep
from .errors import Status, TqkvError, TqkvFileError, TqkvMemoryError, TqkvValueError

__version__: str = _core.version()


def formats() -> list[str]:
    """Names of all formats, in the order of tables."""
    return [name for name, _, _ in _core.formats()]


def set_threads(n: int) -> None:
    """Lets calls work on n threads, the calling one counted: 1 to 256. Results do not depend on it."""
    _core.threads_set(n)


def get_threads() -> int:
    """Threads that calls work on; at first as many as this process may use processors."""
    return _core.threads()


try:
    set_threads(min(256, len(_os.sched_getaffinity(0))))
except AttributeError:  # a system that does not tell
    set_threads(min(256, _os.cpu_count() or 1))

__all__ = ["Codec", "Codes", "load", "Cache", "PagePool", "attention", "attend_batch", "merge", "block_info", "sweep", "Sweep", "formats", "set_threads", "get_threads", "Status", "TqkvError", "TqkvFileError",
           "TqkvMemoryError", "TqkvValueError", "__version__"]
