# SPDX-License-Identifier: MIT
"""Files are those of the command tqkv, to the byte, in both directions."""

import numpy as np
import pytest

import libtqkv
from libtqkv import Codec, Status, TqkvError


@pytest.mark.parametrize("name, dim", [("tq4", 128), ("tq7", 48), ("tq6-v1", 256), ("tq4-v1", 512)])
def test_the_commands_bytes(rng, tqkv, tmp_path, name, dim):
    x = rng.standard_normal((2, 30, dim), np.float32)
    np.save(tmp_path / "x.npy", x)
    tqkv("encode", tmp_path / "x.npy", "-o", tmp_path / "theirs.safetensors", "--format", name)
    Codec(name, dim).encode(x).save(tmp_path / "ours.safetensors")
    theirs, ours = (tmp_path / "theirs.safetensors").read_bytes(), (tmp_path / "ours.safetensors").read_bytes()
    assert theirs == ours
    tqkv("decode", tmp_path / "ours.safetensors", "-o", tmp_path / "back.npy")
    loaded = libtqkv.load(tmp_path / "theirs.safetensors")
    assert np.array_equal(loaded.decode(), np.load(tmp_path / "back.npy"))
    loaded.save(str(tmp_path / "again.safetensors"))
    assert (tmp_path / "again.safetensors").read_bytes() == theirs


def test_centres_and_stretches(rng, tqkv, tmp_path):
    x = rng.standard_normal((2, 700, 64), np.float32) + 5
    codes = Codec("tq4", 64).encode(x, "learn", centre_stretch=256)
    codes.save(tmp_path / "k.safetensors")
    tqkv("decode", tmp_path / "k.safetensors", "-o", tmp_path / "k.npy")
    loaded = libtqkv.load(tmp_path / "k.safetensors")
    assert loaded.centre_stretch == 256 and np.array_equal(loaded.centre, codes.centre)
    assert np.array_equal(loaded.decode(), np.load(tmp_path / "k.npy"))
    assert np.array_equal(loaded.decode(), codes.decode())


def test_a_ring_of_the_commands(rng, tqkv, tmp_path):
    x = rng.standard_normal((2, 50, 64), np.float32)
    np.save(tmp_path / "x.npy", x)
    tqkv("encode", tmp_path / "x.npy", "-o", tmp_path / "r.safetensors", "--format", "tq8", "--capacity", 32, "--ring")
    ring = libtqkv.load(tmp_path / "r.safetensors")
    assert ring.shape == (2, 32, 64) and ring.ring_start != 0
    assert np.array_equal(ring.decode(), Codec("tq8", 64).encode(x[:, 18:]).decode())
    ring.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "r.safetensors").read_bytes()


def test_damage_is_told(rng, tmp_path):
    path = tmp_path / "k.safetensors"
    Codec("tq4", 64).encode(rng.standard_normal((1, 9, 64), np.float32)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(TqkvError) as caught:
        libtqkv.load(path)
    assert caught.value.status == Status.FILE_CHECKSUM
    path.write_bytes(whole[:40])
    with pytest.raises(TqkvError) as caught:
        libtqkv.load(path)
    assert caught.value.status == Status.FILE_TRUNCATED
    with pytest.raises(OSError) as caught:
        libtqkv.load(tmp_path / "none.safetensors")
    assert caught.value.status == Status.IO
    with pytest.raises(OSError):
        libtqkv.Codec("tq4", 64).encode(np.zeros((1, 1, 64), np.float32)).save(tmp_path / "no" / "folder")
