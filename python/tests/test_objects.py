# SPDX-License-Identifier: MIT
"""What objects say of themselves, and whether they travel: help(), pickle and copy."""

import copy
import inspect
import pickle
import types

import numpy as np
import pytest

import libtqkv
from libtqkv import Cache, Codec, PagePool, Status, TqkvError
from libtqkv.codec import Codes


def members(thing):
    """Public functions and properties of a class, its own and those of this package's classes behind it."""
    for base in thing.__mro__:
        if base.__module__.startswith("libtqkv"):
            yield from ((name, member) for name, member in vars(base).items() if not name.startswith("_"))


def undocumented(things):
    """Names of what has no docstring of its own. Fields, which their class explains, and data are left out."""
    for name, thing in things:
        if not inspect.getdoc(thing):
            yield name
        if inspect.isclass(thing):
            for member_name, member in members(thing):
                kinds = (types.FunctionType, types.MethodDescriptorType, classmethod, staticmethod, property,
                         types.GetSetDescriptorType)
                if isinstance(member, kinds) and not inspect.getdoc(getattr(thing, member_name)):
                    yield f"{name}.{member_name}"


def test_everything_public_is_documented():
    assert not list(undocumented((name, getattr(libtqkv, name)) for name in libtqkv.__all__ if name != "__version__"))


def test_the_test_sees_what_is_missing():
    bare = type("Bare", (), {"__module__": "libtqkv.none", "__doc__": "Something.", "method": lambda self: 0})
    assert list(undocumented([("Bare", bare), ("f", lambda: 0)])) == ["Bare.method", "f"]


@pytest.mark.parametrize("name", ["append", "attend", "truncate", "reserve", "clear", "import_block", "k_centre"])
def test_methods_in_c_say_how_they_are_called(name):
    method = getattr(Cache, name)
    assert inspect.signature(method) and method.__doc__
    assert "TqkvError: " in method.__doc__ or name in ("clear", "k_centre")


def test_codecs_codes_and_errors_are_pickled(rng):
    x = rng.standard_normal((2, 30, 64), np.float32)
    codec = Codec("tq5", 64, norm_rule="unbiased")
    codes = codec.encode(x, "learn", centre_stretch=8)
    for travel in (lambda a: pickle.loads(pickle.dumps(a)), copy.deepcopy):
        other = travel(codes)
        assert travel(codec) == codec and isinstance(other, Codes) and other.codec == codec
        assert np.array_equal(other.decode(), codes.decode()) and other.centre_stretch == 8
    with pytest.raises(TqkvError) as caught:
        Codec("tq4", 65)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), again.status, again.field) == (type(caught.value), Status.HEAD_DIM, caught.value.field)


def test_caches_are_forked_and_not_pickled(rng):
    x = rng.standard_normal((40, 2, 64), np.float32)
    cache = Cache(2, 64, capacity=100)
    cache.append(x, x)
    other = copy.deepcopy(cache)
    other.append(x[0], x[0])
    assert (cache.length, other.length, other.kind) == (40, 41, "default")
    assert other.export_block(0, 40) == cache.export_block()
    for travel in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match=r"export_block\(\)"):
            travel(cache)
    pool = PagePool(2, 64, "tq4", n_pages=3)
    for travel in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="PagePool"):
            travel(pool)
