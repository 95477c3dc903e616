# SPDX-License-Identifier: MIT
"""A cache for models of Hugging Face's transformers (5.x), attended to on its codes.

    from libtqkv.transformers import TqCache, enable
    enable(model)
    model.generate(**inputs, past_key_values=TqCache.for_model(model, "default"))
"""

import transformers as _transformers

if int(_transformers.__version__.partition(".")[0]) < 5:
    raise ImportError(f"libtqkv.transformers needs transformers 5, not {_transformers.__version__}")

from .attention import NAME, enable
from .cache import TqCache
from .cuda import TqCudaLayer
from .layers import TqLayer, TqSlidingLayer

__all__ = ["NAME", "TqCache", "TqCudaLayer", "TqLayer", "TqSlidingLayer", "enable"]
