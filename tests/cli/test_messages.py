# SPDX-License-Identifier: MIT
"""Names of files and words out of them may hold anything; a terminal gets nothing to obey, and UTF-8 as it is."""
import json
import os
import struct

from support import CommandTest, gaussian, main

MODEL = os.path.join(os.environ["TQKV_SOURCE"], "models", "kjv-bias.safetensors")

# ESC and newline, C1's CSI as UTF-8, DEL, an overriding mark, a line separator; and what must stay.
BAD = "\x1b[2J\n\x9b31m\x7f\u202e\u2028"
GOOD = "Schlüssel-鍵-🔑"
SHOWN = "?[2J??31m???" + GOOD


class Messages(CommandTest):
    def check(self, text, times=1):
        self.assertEqual(text.count(SHOWN), times, text)
        for character in BAD.replace("[2J", "").replace("31m", "").replace("\n", ""):
            self.assertNotIn(character, text)

    def run_utf8(self, *arguments):
        return self.run_raw(*arguments, env={**os.environ, "LC_ALL": "C.UTF-8"}, encoding="utf-8")

    def failed(self, *arguments, status=1, times=1):
        done = self.run_utf8(*arguments)
        self.assertEqual(done.returncode, status, done.stderr)
        self.check(done.stdout + done.stderr, times)

    def test_paths(self):
        name = BAD + GOOD
        self.write_npy("x.npy", (2, 5, 64), gaussian(2 * 5 * 64))
        self.write_npy("nan.npy", (1, 2, 64), [float("nan")] * 128)
        os.rename(self.path("nan.npy"), self.path(name))
        none = name + "x"
        self.failed("info", none)
        self.failed("decode", none, "-o", "o")
        self.failed("decode", name, "-o", "o")
        self.failed("encode", name, "-o", "o", "--format", "tq4")
        self.failed("encode", "x.npy", "-o", name + "/o", "--format", "tq4")
        self.failed("attend", "--q", "x.npy", "--k", none, "--v", "x.npy", "-o", "o")
        self.failed("eval", "--model", none)
        self.failed("eval", "--model", MODEL, "--text", none)
        self.failed("compare", "x.npy", name)

    def test_arguments(self):
        word = BAD + GOOD
        self.failed(word, status=2)
        self.failed("info", "--" + word, status=2)
        self.failed("info", "x", word, status=2)
        self.failed("encode", "x", "-o", "o", "--format", word, status=2)
        self.failed("eval", "--model", MODEL, "--formats", "tq4+" + word, status=2, times=2)

    def test_bytes_that_are_no_utf8(self):
        done = self.run_raw("info", b"a\xff\xc0\x80\xed\xa0\x80\xf0\x9f\x94", errors="replace")
        self.assertIn("info: a?????????: cannot open", done.stderr)

    def test_results(self):
        name = BAD + GOOD
        self.write_npy(name, (2, 5, 64), gaussian(2 * 5 * 64))
        for arguments in (("info", name), ("sweep", name), ("encode", name, "-o", "o.st", "--format", "tq4")):
            done = self.run_utf8(*arguments)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.check(done.stdout)
        self.assertEqual(json.loads(self.run_utf8("info", name, "--json").stdout)["file"], name)

    def test_words_of_a_file(self):
        self.write_npy("x.npy", (2, 5, 64), gaussian(2 * 5 * 64))
        self.tqkv("encode", "x.npy", "-o", "x.st", "--format", "tq4")
        whole = self.read("x.st")
        length = struct.unpack("<Q", whole[:8])[0]
        header = json.loads(whole[8:8 + length])
        words = BAD + GOOD
        header["__metadata__"]["free " + words] = "a\0b " + words
        text = json.dumps(header).encode()
        self.write("free.st", struct.pack("<Q", len(text)) + text + whole[8 + length:])
        done = self.run_utf8("info", "free.st")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.check(done.stdout, times=2)
        self.assertIn("a?b ", done.stdout)
        free = json.loads(self.run_utf8("info", "free.st", "--json").stdout)["metadata"]
        self.assertEqual(free["free " + words], "a\0b " + words)
        header["__metadata__"]["tqkv." + GOOD + BAD] = ""
        text = json.dumps(header).encode()
        self.write("ours.st", struct.pack("<Q", len(text)) + text + whole[8 + length:])
        done = self.run_utf8("info", "ours.st")
        self.assertIn("unknown field tqkv." + GOOD + "?[2J", done.stderr)


main()
