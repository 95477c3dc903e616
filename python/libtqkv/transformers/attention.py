# SPDX-License-Identifier: MIT
"""The attention function and the mask function that transformers calls."""

from __future__ import annotations

from typing import Any, Optional

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from .held import Held

NAME = "tqkv"  # what attn_implementation is called

# Of what models hand on, this says nothing about attention itself.
_IRRELEVANT = {"output_attentions", "output_hidden_states", "use_cache", "cache_position", "position_ids", "return_dict",
               "num_items_in_batch", "logits_to_keep", "is_causal", "position_embeddings"}


def attention(module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
              attention_mask: Optional[torch.Tensor], dropout: float = 0.0, scaling: Optional[float] = None,
              sliding_window: Optional[int] = None, softcap: Optional[float] = None, s_aux: Optional[torch.Tensor] = None,
              **others: Any) -> tuple[torch.Tensor, None]:
    """Attention on the codes of a TqCache's layer; of layers that the cache has as tensors, PyTorch's own."""
    if not isinstance(key, Held):
        if softcap is not None or s_aux is not None:
            raise ValueError("softcap and attention sinks are known on a TqCache alone: use attn_implementation='eager'")
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others)
    unknown = [name for name, given in others.items() if given is not None and name not in _IRRELEVANT]
    if unknown:
        raise ValueError(f"attention on codes does not know {', '.join(sorted(unknown))}")
    if dropout:
        raise ValueError("attention on codes has no dropout: call model.eval()")
    if others.get("is_causal") is False:
        raise ValueError("a TqCache's layers are causal")
    layer = key.layer
    if sliding_window is not None and layer.window is None:
        raise ValueError(f"a layer with a window of {sliding_window} is in the cache as one of full attention: make the "
                         "cache by TqCache.for_model(model)")
    options: dict[str, Any] = {"scale": scaling, "softcap": softcap}
    if s_aux is not None:
        sinks = s_aux.detach().to(torch.float32).contiguous()
        options["sinks"] = sinks if sinks.is_cuda else sinks.numpy()
    return layer.attend(query.detach(), attention_mask, options), None


def register() -> None:
    """Makes both functions known to transformers. The mask function is that of SDPA: a name without one gets no mask
    at all, and padding on the left would be lost."""
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def enable(model: PreTrainedModel) -> PreTrainedModel:
    """Has the model attend by codes wherever its cache is a TqCache. Returns the model.

    With other caches, and without one, it attends by PyTorch's scaled_dot_product_attention().
    """
    register()
    model.set_attn_implementation(NAME)
    return model
