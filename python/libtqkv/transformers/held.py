# SPDX-License-Identifier: MIT
"""What a layer of a cache gives in place of keys and values.

transformers hands on to the attention function what a cache's update() returns, and not the cache. This says which
layer's codes are meant. It has a shape and no numbers: whoever computes with it is told what to do instead of
getting a wrong answer.
"""

from __future__ import annotations

from typing import Any

import torch

_HARMLESS = {torch.Tensor.shape.__get__, torch.Tensor.dtype.__get__, torch.Tensor.ndim.__get__, torch.Tensor.size,
             torch.Tensor.dim, torch.Tensor.device.__get__, torch.Tensor.requires_grad.__get__, torch.Tensor.__len__}


class Held(torch.Tensor):
    """Keys or values that lie in a cache as codes."""

    layer: Any

    @classmethod
    def of(cls, layer: Any, shape: tuple, dtype: torch.dtype) -> "Held":
        held = torch.empty(shape, dtype=dtype, device="meta").as_subclass(cls)
        held.layer = layer
        return held

    def __repr__(self) -> str:
        return "<keys or values that a TqCache holds as codes>"

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in _HARMLESS:
            with torch._C.DisableTorchFunctionSubclass():
                return function(*args, **(kwargs or {}))
        raise TypeError(
            f"a TqCache holds its keys and values as codes, which {getattr(function, '__name__', function)}() cannot read: "
            "call libtqkv.transformers.enable(model) before the model runs, so that attention reads the codes")
