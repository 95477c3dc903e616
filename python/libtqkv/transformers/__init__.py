# SPDX-License-Identifier: MIT
"""A cache for models of Hugging Face's transformers (5.15 and later), attended to on its codes.

    from libtqkv.transformers import TqCache, enable
    enable(model)
    model.generate(**inputs, past_key_values=TqCache.for_model(model, "default"))
"""

try:
    import torch as _torch  # noqa: F401
    import transformers as _transformers
except ImportError as error:
    raise ImportError(f"libtqkv.transformers needs PyTorch and transformers 5.15 or later ({error}): "
                      "pip install torch 'transformers>=5.15,<6'") from error

# Before 5.15 a cache was told in other words what its layers are, and what to crop.
if tuple(int(n) for n in _transformers.__version__.split(".")[:2]) < (5, 15):
    raise ImportError(f"libtqkv.transformers needs transformers 5.15 or later, not {_transformers.__version__}")

from .attention import NAME, enable
from .cache import TqCache
from .cuda import TqCudaLayer
from .layers import TqLayer, TqSlidingLayer

__all__ = ["NAME", "TqCache", "TqCudaLayer", "TqLayer", "TqSlidingLayer", "enable"]
