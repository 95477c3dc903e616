# SPDX-License-Identifier: MIT
"""Threads, forks, leaks, the doctor and the wheel itself."""

import gc
import os
import re
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

import libtqkv
from libtqkv import Cache, Codec, TqkvError, _core, attention


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def every_call():
    """A round of calls, good ones and refused ones."""
    x = np.full((2, 16, 64), 0.5, np.float32)
    codec, cache = Codec("tq4", 64), Cache(2, 64, "tq4+recent=8", capacity=64)
    codes = codec.encode(x, np.ones((2, 64)))
    codes.decode()
    codec.rotate(x)
    rows = x.transpose(1, 0, 2)
    cache.append(rows, rows)
    cache.attend(rows[:2], lse=True)
    attention(x, codes, x, partial=True, causal=False)
    other = cache.fork(8)
    other.clear()
    other.import_block(cache.export_block())
    libtqkv.attend_batch([cache, other], rows[:2])
    cache.bytes, cache.k_centre(3), cache.length
    for call in (lambda: codec.encode(x[:, :, ::2]), lambda: cache.append(rows.astype(np.float64), rows),
                 lambda: cache.attend(rows, wrong=1), lambda: attention(x, codes, codes), lambda: Codec("tq9", 64),
                 lambda: cache.attend(np.full((1, 2, 64), np.nan, np.float32)), lambda: cache.import_block(b"no"),
                 lambda: cache.append(rows, rows[:3]), lambda: Cache(2, 64, "tq4", capacity=0)):
        with pytest.raises((TqkvError, TypeError)):
            call()


def under_asan():
    return "libasan" in Path("/proc/self/maps").read_text()


@pytest.mark.skipif(under_asan(), reason="ASan keeps freed memory for a while, on purpose")
def test_nothing_leaks_in_10000_rounds():
    """Memory after 500 rounds beside that after 10,000 more; and references to the arrays."""
    x = np.zeros((1, 4, 64), np.float32)
    count = sys.getrefcount(x)
    for _ in range(500):
        every_call()
        Codec("tq4", 64).encode(x)
        with pytest.raises(TqkvError):
            Codec("tq4", 96).encode(x)
    gc.collect()
    before = resident()
    for _ in range(10000 // 10):
        every_call()
    codec, cache = Codec("tq4", 64), Cache(1, 64, "tq4", capacity=100)
    cache.append(x[0, :, None], x[0, :, None])
    for _ in range(10000):
        codec.encode(x)
        cache.attend(x[0, :1])
        with pytest.raises(TqkvError):
            cache.attend(x[0, :1], scale=0)
    gc.collect()
    assert resident() - before < 2 << 20
    assert sys.getrefcount(x) == count


def test_the_interpreter_goes_on_meanwhile():
    """Another thread counts while a call of half a second or so is under way."""
    x = np.ones((8, 16384, 128), np.float32)
    codec, counts, done = Codec("tq7", 128), [0], threading.Event()

    def count():
        while not done.is_set():
            counts[0] += 1
            time.sleep(0.0005)

    before = libtqkv.get_threads()
    libtqkv.set_threads(1)
    thread = threading.Thread(target=count)
    thread.start()
    try:
        out = codec.encode(x)
        at = counts[0]
        started = time.perf_counter()
        codec.encode(x, out=out)
        seconds, counted = time.perf_counter() - started, counts[0] - at
    finally:
        done.set()
        thread.join()
        libtqkv.set_threads(before)
    assert counted >= 5, (seconds, counted)


def test_threads_share_a_cache():
    """Writers and readers at once: nobody crashes, nothing is lost."""
    cache, one = Cache(2, 64, "tq4+recent=8", capacity=4000), np.ones((1, 2, 64), np.float32)
    cache.append(one, one)
    errors = []

    def work(write):
        try:
            for _ in range(400):
                if write:
                    cache.append(one, one)
                else:
                    assert np.allclose(cache.attend(np.ones((2, 64), np.float32)), 1, atol=0.3)
                    cache.bytes, cache.fork().length
        except BaseException as error:  # in a thread it would be lost
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i % 2 == 0,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and cache.length == 1201


def test_threads_encode_at_once(rng):
    x = rng.standard_normal((4, 2000, 64), np.float32)
    codec = Codec("tq4", 64)
    expected, results = codec.encode(x).codes, [None] * 4

    def work(i):
        results[i] = [np.array_equal(codec.encode(x).codes, expected) for _ in range(10)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[True] * 10] * 4


def test_a_forked_child_works_too():
    code = """
import os, numpy as np, libtqkv
libtqkv.set_threads(4)
x = np.random.default_rng(1).standard_normal((4, 5000, 64), np.float32)
codec = libtqkv.Codec("tq4", 64)
expected = codec.encode(x).codes
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(codec.encode(x).codes, expected) else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert np.array_equal(codec.encode(x).codes, expected)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_doctor():
    done = subprocess.run([sys.executable, "-m", "libtqkv", "doctor"], capture_output=True, text=True)
    assert done.returncode == 0 and "self-check    passed" in done.stdout, done.stdout + done.stderr
    assert libtqkv.__version__ in done.stdout and "scalar" in done.stdout and "tq6-v1" in done.stdout
    assert subprocess.run([sys.executable, "-m", "libtqkv", "doctro"], capture_output=True).returncode == 2
    shown = subprocess.run(f"{sys.executable} -m libtqkv doctor | head -n 1", shell=True, capture_output=True, text=True)
    assert shown.stdout.startswith("libtqkv") and not shown.stderr, shown.stderr
    closed = subprocess.run(f"{sys.executable} -m libtqkv doctor >&-", shell=True, capture_output=True, text=True)
    assert (closed.returncode, closed.stderr) == (0, "")
    full = subprocess.run(f"{sys.executable} -m libtqkv doctor >/dev/full", shell=True, capture_output=True, text=True)
    assert full.returncode == 1 and full.stderr == "doctor: cannot write: No space left on device\n"
    environment = dict(os.environ, TQKV_ISA="nonsense")
    failed = subprocess.run([sys.executable, "-m", "libtqkv", "doctor"], capture_output=True, text=True, env=environment)
    assert failed.returncode == 1 and "nonsense" in failed.stdout + failed.stderr


def test_statuses_are_the_librarys():
    """Each by its name; and the stub names what the module has, no more and no less."""
    for status in libtqkv.Status:
        assert _core.status_name(status) in ("TQ_OK", f"TQ_E_{status.name}")
    known = {number for number in range(200) if _core.status_name(number) != "TQ_E_?"}
    assert known == set(libtqkv.Status)
    stub = (Path(libtqkv.__file__).parent / "_core.pyi").read_text()
    assert set(re.findall(r"^(?:def|class) (\w+)", stub, re.M)) == {n for n in dir(_core) if not n.startswith("__")}


@pytest.mark.skipif("TQKV_WHEEL" not in os.environ, reason="no wheel is named by TQKV_WHEEL")
def test_the_wheel():
    with zipfile.ZipFile(os.environ["TQKV_WHEEL"]) as wheel:
        names = wheel.namelist()
        licence = next(name for name in names if name.endswith("licenses/LICENSE"))
        assert b"MIT License" in wheel.read(licence)
        assert any(name.endswith("THIRD-PARTY.txt") for name in names)
        assert "libtqkv/_core.abi3.so" in names and "libtqkv/py.typed" in names
        assert "cp311-abi3" in os.environ["TQKV_WHEEL"]
        assert not [name for name in names if name.endswith((".h", ".a", ".c", ".cmake"))]


def test_an_append_gets_its_turn():
    """Among threads that attend without a gap."""
    rng = np.random.default_rng(1)
    x, q = rng.standard_normal((3000, 2, 128), np.float32), rng.standard_normal((8, 8, 128), np.float32)
    cache, stop, attended = Cache(2, 128, "tq4", capacity=4000), threading.Event(), [0]
    cache.append(x, x)

    def attend():
        while not stop.is_set():
            cache.attend(q)
            attended[0] += 1

    threads = [threading.Thread(target=attend) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.1)
        before = attended[0]
        for i in range(10):
            cache.append(x[i], x[i])
        meanwhile = attended[0] - before
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert meanwhile < 200, f"10 appends waited for {meanwhile} calls"
