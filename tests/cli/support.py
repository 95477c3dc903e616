# SPDX-License-Identifier: MIT
"""Runs the command in a folder of its own and reads and writes .npy files without numpy."""
import array
import ast
import json
import math
import os
import random
import re
import struct
import subprocess
import tempfile
import unittest

TQKV = os.environ["TQKV"]

# Distortion of the best 2^B centroids on N(0, 1): docs/format.md.
THEORY = {2: 0.117482, 3: 0.0345478, 4: 0.00950101, 5: 0.00250467, 6: 0.000644240, 7: 0.000163478,
          8: 4.11851e-5}
V2_FORMATS = [f"tq{bits}" for bits in range(2, 9)]
V1_FORMATS = ["tq4-v1", "tq5-v1", "tq6-v1", "tq8-v1"]


def npy_bytes(shape, values, descr="<f4", fortran=False, version=1):
    """values: the flat list; 'f' or 'e' items by descr."""
    text = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {tuple(shape)!r}, }}"
    length_bytes = 2 if version == 1 else 4
    text += " " * (-(8 + length_bytes + len(text) + 1) % 64) + "\n"
    length = len(text).to_bytes(length_bytes, "little")
    code = {"<f4": "f", "<f2": "e", "<f8": "d", ">f4": "f"}[descr]
    data = struct.pack((">" if descr[0] == ">" else "<") + f"{len(values)}{code}", *values)
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode() + data


def safetensors_bytes(tensors):
    """tensors: name -> (dtype, shape, values); BF16 keeps the upper half of a float32."""
    header, data = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        wide = struct.pack(f"<{len(values)}{'e' if dtype == 'F16' else 'f'}", *values)
        part = b"".join(wide[i + 2:i + 4] for i in range(0, len(wide), 4)) if dtype == "BF16" else wide
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def read_npy(path):
    with open(path, "rb") as file:
        data = file.read()
    assert data[:8] == b"\x93NUMPY\x01\x00", data[:8]
    end = 10 + int.from_bytes(data[8:10], "little")
    assert end % 64 == 0
    header = ast.literal_eval(data[10:end].decode())
    assert header["descr"] == "<f4" and header["fortran_order"] is False
    return header["shape"], array.array("f", data[end:])


def gaussian(n, seed=1, scale=1.0):
    rng = random.Random(seed)
    return array.array("f", (scale * rng.gauss(0.0, 1.0) for _ in range(n)))


def relative_error(a, b):
    return math.fsum((x - y) ** 2 for x, y in zip(a, b)) / math.fsum(x * x for x in a)


class CommandTest(unittest.TestCase):
    """Each test has an empty folder, in which the command runs."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tqkv-cli-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data)

    def write_npy(self, name, shape, values, **options):
        self.write(name, npy_bytes(shape, values, **options))

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def read_npy(self, name):
        return read_npy(self.path(name))

    def files(self):
        return sorted(os.listdir(self.folder))

    def run_raw(self, *arguments, **options):
        options.setdefault("stdout", subprocess.PIPE)
        return subprocess.run([TQKV, *arguments], cwd=self.folder, stdin=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, timeout=120, check=False, **options)

    def tqkv(self, *arguments):
        """Runs, must succeed without a word on standard error; returns standard output."""
        done = self.run_raw(*arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""), arguments)
        return done.stdout

    def json(self, *arguments):
        return json.loads(self.tqkv(*arguments, "--json"))

    def refused(self, status, pattern, *arguments, **options):
        """Runs, must end with that status, say what the pattern asks for and leave the files alone."""
        before = self.files()
        done = self.run_raw(*arguments, **options)
        self.assertEqual(done.returncode, status, (arguments, done.stdout, done.stderr))
        self.assertRegex(done.stderr, pattern)
        self.assertTrue(done.stderr.startswith("tqkv"), done.stderr)
        self.assertEqual(self.files(), before)
        return done

    def check_documented(self, command):
        """Help fits and lists options that the man page's part on the command knows, all of them."""
        text = self.tqkv(command, "--help")
        self.assertIn(f"Usage: tqkv {command} ", text)
        self.assertIn("Examples:\n  tqkv " + command, text)
        self.assert_fits_80_columns(text)
        with open(os.path.join(os.environ["TQKV_SOURCE"], "docs", "tqkv.1"), encoding="ascii") as file:
            part = file.read().split(f".Ss tqkv {command}\n")[1].split(".Ss ")[0].split(".Sh ")[0]
        options = re.findall(r"^ +(?:-\w, +)?--([\w-]+)", text, re.M)
        self.assertGreater(len(options), 3)
        for option in options:
            if option not in ("json", "help"):
                self.assertRegex(part, rf"Fl -{option}\b")

    def assert_fits_80_columns(self, text):
        for line in text.splitlines():
            self.assertLessEqual(len(line), 80, line)
            self.assertFalse(re.search(r"[^\x20-\x7e]", line), line)


def main():
    unittest.main(verbosity=1)
