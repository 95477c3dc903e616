# SPDX-License-Identifier: MIT
"""sweep(): its figures, its table and its picture."""

import sys

import numpy as np
import pytest

from libtqkv import Codec, TqkvError, formats, sweep


def test_figures(rng):
    k = rng.standard_normal((2, 300, 64), np.float32) + 5
    v, q = rng.standard_normal((2, 300, 64), np.float32), rng.standard_normal((4, 8, 64), np.float32)
    result = sweep(k, v, q)
    assert [row.format for row in result] == [f"tq{bits}" for bits in range(2, 9)]
    by_name = {row.format: row for row in result}
    tq4 = by_name["tq4"]
    decoded = Codec("tq4", 64).encode(v).decode()
    assert tq4.bits == 4.25 and tq4.v == pytest.approx(((decoded - v) ** 2).sum() / (v ** 2).sum(), rel=1e-5)
    assert tq4.k_centred < tq4.k / 5
    errors = [row.out for row in result]
    assert errors == sorted(errors, reverse=True)
    lines = str(result).splitlines()
    table, meaning = lines[:8], lines[8:]
    assert len({len(line) for line in table}) == 1 and "tq6" in table[5]
    assert meaning[0].startswith("bits: ") and "centred" in table[0] and max(len(line) for line in lines) <= 100


def test_v1_and_what_is_asked_for(rng):
    x = rng.standard_normal((1, 50, 256), np.float32)
    assert [row.format for row in sweep(x, x)] == formats()
    (row,) = sweep(x.astype(np.float16), x, formats=["tq4-v1"])
    assert row.k_centred is None and row.out is None and "-" in str(sweep(x, x, formats=["tq4-v1"]))
    with pytest.raises(TqkvError):
        sweep(x, x, formats=["tq9"])
    assert len(sweep(x, x, formats=[])) == 0
    for k, names in ((None, None), ("keys", None), (x.astype(np.complex64), None), (x, "tq4")):
        with pytest.raises(TypeError, match="must be"):
            sweep(k, x, formats=names)


def test_no_picture_without_matplotlib(rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    x = rng.standard_normal((1, 50, 64), np.float32)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        sweep(x, x, formats=["tq4"]).plot()


def test_picture(rng, tmp_path):
    pytest.importorskip("matplotlib")
    x = rng.standard_normal((1, 50, 64), np.float32)
    sweep(x, x).plot(tmp_path / "sweep.svg")
    assert (tmp_path / "sweep.svg").read_text().count("<path") > 10
