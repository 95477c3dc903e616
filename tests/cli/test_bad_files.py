# SPDX-License-Identifier: MIT
"""Bad data and failing files end with status 1, name what is at fault, and leave nothing behind."""
import json
import os
import resource
import signal
import stat
import struct
import unittest

from support import CommandTest, gaussian, main, npy_bytes


class BadFiles(CommandTest):
    def setUp(self):
        super().setUp()
        self.write_npy("x.npy", (2, 3, 5, 32), gaussian(2 * 3 * 5 * 32))

    def encode(self, pattern, source, *options):
        self.refused(1, pattern, "encode", source, "-o", "out.st", "--format", "tq4", *options)

    def test_values_that_no_encoder_takes(self):
        flat = ((1 * 3 + 2) * 5 + 4) * 32 + 31
        for value, word in ((float("nan"), "is NaN"), (float("inf"), "is infinite"),
                            (float("-inf"), "is infinite"), (-2.0 ** 58, r"is -2\.88230376e\+17; .*2\^57")):
            values = gaussian(2 * 3 * 5 * 32)
            values[flat] = value
            self.write_npy("bad.npy", (2, 3, 5, 32), values)
            where = rf"bad\.npy: value \[1, 2, 4, 31\] \(flat index {flat}\) {word}"
            self.encode(where, "bad.npy")
            self.refused(1, where, "sweep", "bad.npy")
            if "57" not in word:
                for pair in (("x.npy", "bad.npy"), ("bad.npy", "x.npy")):
                    self.refused(1, where, "compare", *pair)
                self.refused(1, where, "requantize", "bad.npy", "-o", "out.npy", "--bits", "4")
                self.assertEqual(self.json("info", "bad.npy")["n_not_finite"], 1)

    def test_norms_that_float16_cannot_hold(self):
        values = gaussian(2 * 3 * 5 * 32)
        values[(4 * 5 + 3) * 32 + 9] = 1e6
        self.write_npy("long.npy", (2, 3, 5, 32), values)
        where = r"long\.npy: vector \[4, 3\] of \[heads, positions\] has a norm above 65504, which float16 cannot"
        self.encode(where, "long.npy")
        self.encode(where, "long.npy", "--capacity", "3", "--ring")
        self.refused(1, where, "sweep", "long.npy")
        for options in (("--center", "mean"), ("--center", "learn")):
            self.encode(r"long\.npy: value \[1, 1, 3, 9\] .* is 1000000; with a centre or float16 positions, magnitudes up to 65504",
                        "long.npy", *options)
        self.write_npy("large.npy", (6, 32), [65505.0] + [0.0] * 191)
        self.encode(r"large\.npy: value \[0, 0\] .* is 65505; with a centre or", "x.npy", "--center", "large.npy")
        # The norm of v1 is a float32.
        values = gaussian(256)
        values[3] = 1e6
        self.write_npy("long.npy", (1, 256), values)
        self.tqkv("encode", "long.npy", "-o", "long.st", "--format", "tq4-v1")
        os.remove(self.path("long.st"))

    def test_files_of_version_2(self):
        """They had float32 norms."""
        bad = os.path.join(os.environ["TQKV_SOURCE"], "tests", "golden", "bad")
        files = [name for name in os.listdir(bad) if name.startswith("version-2-")]
        self.assertEqual(len(files), 5)
        for name in files:
            with open(os.path.join(bad, name), "rb") as file:
                self.write("old.st", file.read())
            for arguments in (("info", "old.st"), ("decode", "old.st", "-o", "out.npy")):
                self.refused(1, r'old\.st: byte \d+: tqkv.version is "2", whose norms are float32; "3" is '
                             "expected: encode the tensor again", *arguments)

    def test_bad_centres(self):
        self.write_npy("short.npy", (5, 32), gaussian(5 * 32))
        self.encode(r"short\.npy: shape \[5\]\[32\]; the centre of this input is \[6\]\[32\]", "x.npy",
                    "--center", "short.npy")
        self.write_npy("turned.npy", (32, 6), gaussian(32 * 6))
        self.encode(r"turned\.npy: shape", "x.npy", "--center", "turned.npy")
        self.write_npy("nan.npy", (6, 32), [0.0] * 100 + [float("nan")] + [0.0] * 91)
        self.encode(r"nan\.npy: value \[3, 4\] \(flat index 100\) is NaN", "x.npy", "--center", "nan.npy")
        self.encode(r"none\.npy", "x.npy", "--center", "none.npy")

    def test_shapes_that_are_no_heads(self):
        for shape, n in (((), 1), ((64,), 64)):
            self.write_npy("low.npy", shape, [0.0] * n)
            self.encode(r"low\.npy: shape .*\[positions\]\[head_dim\]", "low.npy")
        self.write_npy("empty.npy", (2, 0, 64), [])
        self.encode(r"empty\.npy: shape \[2\]\[0\]\[64\] holds no values", "empty.npy")
        self.refused(1, "holds no values", "compare", "empty.npy", "empty.npy")

    def test_head_dims_that_no_format_serves(self):
        for head_dim in (16, 33, 1040):
            self.write_npy("odd.npy", (1, 2, head_dim), [1.0] * (2 * head_dim))
            self.encode(r"odd\.npy: .*head_dim", "odd.npy")
            self.refused(1, "no format serves head dimension", "sweep", "odd.npy")
        self.refused(1, r"x\.npy: .*head_dim", "encode", "x.npy", "-o", "out.st", "--format", "tq4-v1")

    def test_npy_kinds_that_are_refused(self):
        for options in ({"fortran": True}, {"descr": ">f4"}, {"descr": "<f8"}):
            self.write_npy("odd.npy", (2, 3, 32), gaussian(2 * 3 * 32), **options)
            self.encode(r"odd\.npy", "odd.npy")
            self.refused(1, r"odd\.npy", "info", "odd.npy")

    def test_files_cut_short_and_too_long(self):
        self.tqkv("encode", "x.npy", "-o", "x.st", "--format", "tq3")
        npy, encoded = self.read("x.npy"), self.read("x.st")
        for length in (0, 1, 5, 9, 50, len(npy) - 1):
            self.write("cut", npy[:length])
            self.refused(1, "tqkv info: cut: ", "info", "cut")
            self.refused(1, "tqkv encode: cut: ", "encode", "cut", "-o", "out.st", "--format", "tq4")
        for length in (0, 7, 9, 50, len(encoded) // 2, len(encoded) - 1):
            self.write("cut", encoded[:length])
            self.refused(1, "tqkv info: cut: ", "info", "cut")
            self.refused(1, "tqkv decode: cut: ", "decode", "cut", "-o", "out.npy")
        for whole in (npy, encoded):
            self.write("long", whole + b"\0")
            self.refused(1, "tqkv info: long: ", "info", "long")

    def test_flipped_bits(self):
        self.tqkv("encode", "x.npy", "-o", "x.st", "--format", "tq3", "--center", "mean")
        whole = self.read("x.st")
        begin = 8 + struct.unpack("<Q", whole[:8])[0]
        for at in (begin, begin + 100, (begin + len(whole)) // 2, len(whole) - 1):
            flipped = bytearray(whole)
            flipped[at] ^= 0x10
            self.write("flipped.st", flipped)
            self.refused(1, r"flipped\.st: ", "info", "flipped.st")
            self.refused(1, r"flipped\.st: ", "decode", "flipped.st", "-o", "out.npy")

    def test_forged_metadata(self):
        self.tqkv("encode", "x.npy", "-o", "x.st", "--format", "tq4")
        whole = self.read("x.st")
        length = struct.unpack("<Q", whole[:8])[0]
        header = json.loads(whole[8:8 + length])
        header["__metadata__"]["tqkv.n_positions"] = "4"
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        self.write("forged.st", struct.pack("<Q", len(text)) + text + whole[8 + length:])
        self.refused(1, r"forged\.st: ", "decode", "forged.st", "-o", "out.npy")

    def test_kinds_by_content_not_by_name(self):
        self.tqkv("encode", "x.npy", "-o", "really.npy", "--format", "tq4")
        self.assertEqual(self.json("info", "really.npy")["kind"], "safetensors")
        self.refused(1, r"really\.npy: ", "encode", "really.npy", "-o", "out.st", "--format", "tq4")
        self.refused(1, r"x\.npy: ", "decode", "x.npy", "-o", "out.npy")
        self.write("words.txt", b"neither one nor the other\n")
        self.refused(1, r"words\.txt: byte 0: neither", "info", "words.txt")

    def test_files_that_are_not_there(self):
        for arguments in (("encode", "gone", "-o", "out", "--format", "tq4"), ("decode", "gone", "-o", "out"),
                          ("info", "gone"), ("compare", "x.npy", "gone"), ("compare", "gone", "x.npy"),
                          ("sweep", "gone"), ("requantize", "gone", "-o", "out", "--bits", "4")):
            self.refused(1, rf"tqkv {arguments[0]}: gone: .*No such file", *arguments)
        os.mkdir(self.path("folder"))
        self.refused(1, "folder: ", "info", "folder")
        self.encode("folder: ", "folder")

    def writers(self, target):
        return (("encode", "x.npy", "-o", target, "--format", "tq4"), ("decode", "x.st", "-o", target),
                ("requantize", "x.npy", "-o", target, "--bits", "4"))

    def test_output_folder_is_missing(self):
        self.tqkv("encode", "x.npy", "-o", "x.st", "--format", "tq4")
        for arguments in self.writers("no/such/out"):
            self.refused(1, r"no/such.*No such file", *arguments)

    @unittest.skipIf(os.geteuid() == 0, "root may write everywhere")
    def test_output_folder_is_read_only(self):
        self.tqkv("encode", "x.npy", "-o", "x.st", "--format", "tq4")
        os.mkdir(self.path("locked"))
        os.chmod(self.path("locked"), stat.S_IRUSR | stat.S_IXUSR)
        for arguments in self.writers("locked/out"):
            self.refused(1, "locked.*Permission denied", *arguments)

    def test_output_is_a_folder(self):
        self.tqkv("encode", "x.npy", "-o", "x.st", "--format", "tq4")
        os.mkdir(self.path("folder"))
        for arguments in self.writers("folder"):
            self.refused(1, "folder", *arguments)
            self.assertEqual(os.listdir(self.path("folder")), [])

    def test_disk_fills_up_while_writing(self):
        def few_bytes():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (256, 256))

        self.tqkv("encode", "x.npy", "-o", "x.st", "--format", "tq4")
        for arguments in self.writers("out"):
            self.refused(1, "File too large", *arguments, preexec_fn=few_bytes)
        # What was there before is still whole.
        before = self.read("x.st")
        self.refused(1, "File too large", "encode", "x.npy", "-o", "x.st", "--format", "tq5",
                     preexec_fn=few_bytes)
        self.assertEqual(self.read("x.st"), before)

    def test_compare_needs_matching_shapes(self):
        self.write_npy("y.npy", (2, 3, 4, 32), gaussian(2 * 3 * 4 * 32))
        self.refused(1, r"y\.npy: shape \[2\]\[3\]\[4\]\[32\] does not fit shape \[2\]\[3\]\[5\]\[32\]",
                     "compare", "x.npy", "y.npy")
        self.write_npy("z.npy", (2, 3, 10, 16), gaussian(2 * 3 * 5 * 32))
        self.refused(1, "does not fit", "compare", "x.npy", "z.npy")

    def test_decode_may_replace_its_own_input(self):
        self.write("in.npy", npy_bytes((1, 2, 32), gaussian(64)))
        self.tqkv("encode", "in.npy", "-o", "in.npy", "--format", "tq8")
        self.tqkv("decode", "in.npy", "-o", "in.npy")
        self.assertEqual(self.read_npy("in.npy")[0], (1, 2, 32))


main()
