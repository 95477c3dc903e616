# SPDX-License-Identifier: MIT
"""A cache of all layers of a model."""

from __future__ import annotations

from typing import Any, Optional

from transformers import PreTrainedModel
from transformers.cache_utils import DYNAMIC_LAYER_TYPE_MAPPING, Cache, get_layer_types_and_kwargs
from transformers.configuration_utils import PreTrainedConfig

from .._cuda import load
from .cuda import Steps, TqCudaLayer
from .layers import TqLayer, TqSlidingLayer


def _check(layers: list[Any], config: PreTrainedConfig) -> None:
    """Whether the kind serves the model's heads, as far as its configuration says what they are: latent attention's
    are another matter, and told with the first step."""
    heads = getattr(config, "num_key_value_heads", None) or getattr(config, "num_attention_heads", None)
    dim = getattr(config, "head_dim", None)
    if dim is None and heads is not None and getattr(config, "hidden_size", None) is not None:
        dim = config.hidden_size // config.num_attention_heads
    if heads is None or dim is None or getattr(config, "kv_lora_rank", None) is not None:
        return
    for layer in {type(layer): layer for layer in layers if isinstance(layer, TqLayer)}.values():
        layer.check(heads, dim, dim)


class TqCache(Cache):
    """Keys and values of all layers in codes, for past_key_values= of generate() and of a model's call.

    The model must attend by libtqkv.transformers.enable(). Rows of a batch may be padded on the left.
    """

    @classmethod
    def for_model(cls, model: PreTrainedModel | PreTrainedConfig, kind: str = "default", *,
                  capacity: Optional[int] = None) -> "TqCache":
        """An empty cache for a model, or its configuration.

        kind       how keys and values are kept: "default", or any name that libtqkv.Cache takes
        capacity   positions of a row, padding not counted; None: as many as the model is made for. What is not
                   reached takes no memory

        Layers of full and of sliding attention are kept in codes, all others as transformers keeps them: states of
        linear attention, layers that share another's keys. For a model on a CUDA device they are there, and both sides
        of `kind` in codes.

        TqkvError: DEVICE for such a model if this package has no libtqkv_cuda, UNSUPPORTED for f16 or bf16 there; FORMAT
        for a kind that is none, HEAD_DIM for one that does not serve the model's heads, POSITION for a capacity that the
        kind does not fit into. ValueError for a kind of layer that transformers itself lacks.
        """
        config = getattr(model, "config", model).get_text_config(decoder=True)
        if capacity is None:
            capacity = getattr(config, "max_position_embeddings", None) or 131072
        layers: list[Any] = []
        on_cuda, steps = getattr(getattr(model, "device", None), "type", None) == "cuda", Steps()
        if on_cuda:
            load()
        types, each = get_layer_types_and_kwargs(config)
        if isinstance(each, dict):  # up to 5.17: the same for all
            each = [each] * len(types)
        for number, (name, options) in enumerate(zip(types, each)):
            if on_cuda and name in ("full_attention", "sliding_attention"):
                window = options["sliding_window"] if name == "sliding_attention" else None
                layers.append(TqCudaLayer(kind, capacity, window, steps))
            elif name == "full_attention":
                layers.append(TqLayer(kind, capacity))
            elif name == "sliding_attention":
                layers.append(TqSlidingLayer(options["sliding_window"], kind))
            elif name in DYNAMIC_LAYER_TYPE_MAPPING:
                layers.append(DYNAMIC_LAYER_TYPE_MAPPING[name](**options))
            else:
                raise ValueError(f"layer {number} is of the type {name!r}, for which neither TqCache nor transformers has a "
                                 f"cache; it has {', '.join(sorted(DYNAMIC_LAYER_TYPE_MAPPING))}")
        _check(layers, config)
        return cls(layers=layers)

    def update(self, key_states: Any, value_states: Any, layer_idx: int, *args: Any, **kwargs: Any) -> tuple:
        """Takes new keys and values of a layer. RuntimeError if a step before failed half way, so that layers hold
        different numbers of positions."""
        layer = self.layers[layer_idx]
        if isinstance(layer, TqLayer):
            first = next(other for other in self.layers if isinstance(other, TqLayer))
            if layer is not first and layer.seen + key_states.shape[2] != first.seen:
                raise RuntimeError(f"layer {layer_idx} holds {layer.seen} positions, and the first one {first.seen} with "
                                   f"{key_states.shape[2]} new ones: a step before failed half way. reset() the cache")
        return super().update(key_states, value_states, layer_idx, *args, **kwargs)

    @property
    def layer_nbytes(self) -> list[Optional[int]]:
        """Bytes of each layer that is kept in codes; None for others."""
        return [layer.nbytes if isinstance(layer, TqLayer) else None for layer in self.layers]

    @property
    def nbytes(self) -> int:
        """Bytes of the layers that are kept in codes."""
        return sum(n or 0 for n in self.layer_nbytes)
