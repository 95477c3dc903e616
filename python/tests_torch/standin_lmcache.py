# SPDX-License-Identifier: MIT
"""Stands in for LMCache 0.5 where it is not installed, or its native part does not load: the signatures that its
documentation gives to a serde, and no more."""

import abc
import importlib
import sys
import types


class Serializer(abc.ABC):
    @abc.abstractmethod
    def serialize(self, src, dst, key): ...

    @abc.abstractmethod
    def estimate_serialized_size(self, layout_desc): ...


class Deserializer(abc.ABC):
    @abc.abstractmethod
    def deserialize(self, src, dst, key): ...


class AsyncSerdeProcessor:
    def __init__(self, serializer, deserializer, max_workers=1):
        self._serializer, self._deserializer, self.max_workers = serializer, deserializer, max_workers

    def estimate_serialized_size(self, layout_desc):
        return self._serializer.estimate_serialized_size(layout_desc)


FACTORIES = {}


def register_serde_factory(name, factory):
    if name in FACTORIES:
        raise ValueError(f"Serde type already registered: {name!r}")
    FACTORIES[name] = factory


def load():
    """The module that holds the serde classes: (it, whether it is LMCache's own)."""
    name = "lmcache.v1.distributed.serde"
    try:
        return importlib.import_module(name), True
    except ImportError:
        pass
    for part in [found for found in sys.modules if found == "lmcache" or found.startswith("lmcache.")]:
        del sys.modules[part]
    parts = name.split(".")
    for i in range(1, len(parts) + 1):
        sys.modules[".".join(parts[:i])] = types.ModuleType(".".join(parts[:i]))
    module = sys.modules[name]
    for made in (Serializer, Deserializer, AsyncSerdeProcessor, register_serde_factory):
        setattr(module, made.__name__, made)
    return module, False
