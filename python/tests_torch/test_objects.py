# SPDX-License-Identifier: MIT
"""Everything public of libtqkv.transformers is documented."""

import inspect

import libtqkv.transformers
from libtqkv.transformers import TqCache, TqCudaLayer, TqLayer, TqSlidingLayer


def test_everything_public_is_documented():
    """What transformers' own classes say of a method is said."""
    missing = [name for name in libtqkv.transformers.__all__ if not inspect.getdoc(getattr(libtqkv.transformers, name))]
    for thing in (TqCache, TqCudaLayer, TqLayer, TqSlidingLayer):
        missing += [f"{thing.__name__}.{name}" for name, member in vars(thing).items() if not name.startswith("_")
                    and (callable(member) or isinstance(member, (property, classmethod)))
                    and not inspect.getdoc(getattr(thing, name))]
    assert not missing
