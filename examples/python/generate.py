# SPDX-License-Identifier: MIT
"""A model of Hugging Face's transformers writes text from a cache of codes.

    python generate.py [MODEL]      a folder or a name, such as HuggingFaceTB/SmolLM2-135M-Instruct; none: a tiny
                                    model with random weights, which writes nonsense
"""

import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from libtqkv.transformers import TqCache, enable

if len(sys.argv) > 1:
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    ids = tokenizer("A cache of keys and values is", return_tensors="pt").input_ids
else:
    model = AutoModelForCausalLM.from_config(LlamaConfig(vocab_size=256, hidden_size=128, intermediate_size=256,
                                                         num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2))
    tokenizer, ids = None, torch.arange(65, 91)[None]

enable(model.eval())  # attention by codes, wherever the cache is a TqCache
cache = TqCache.for_model(model, "default")
# The argument's name is the newer one from transformers 5.24 on.
name = "cache" if tuple(map(int, transformers.__version__.split(".")[:2])) >= (5, 24) else "past_key_values"
text = model.generate(ids, **{name: cache}, max_new_tokens=40, do_sample=False)
print(tokenizer.decode(text[0]) if tokenizer else text[0].tolist())
print(f"{cache.get_seq_length()} positions in {cache.nbytes} bytes, {cache.layer_nbytes} of the layers")
