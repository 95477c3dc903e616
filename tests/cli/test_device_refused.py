# SPDX-License-Identifier: MIT
"""What a device may refuse, on the stand-in of standin_cuda.c: nothing is written, and nothing falls back."""
import os
import unittest.mock

from support import CommandTest, gaussian, main


class Refused(CommandTest):
    def setUp(self):
        super().setUp()
        self.write_npy("x.npy", (2, 50, 64), gaussian(2 * 50 * 64))
        self.tqkv("encode", "x.npy", "-o", "x.st", "--format", "tq4")

    def check(self, pattern, device="cuda"):
        for command in (("encode", "x.npy", "-o", "new", "--format", "tq4"), ("decode", "x.st", "-o", "new"),
                        ("attend", "--q", "x.npy", "--k", "x.st", "--v", "x.st", "-o", "new", "--lse", "more")):
            done = self.refused(1, f"^tqkv {command[0]}: .*{pattern}", *command, "--device", device)
            self.assertEqual(done.stderr.count("\n"), 1)

    def test_too_old(self):
        self.check("--device cuda:1: device 1 has compute capability 7.0: 8.0 is wanted at least", "cuda:1")

    def test_out_of_memory(self):
        with unittest.mock.patch.dict(os.environ, STANDIN_MEMORY="1500"):
            self.check(r"cuda:0 is out of memory: \d+ bytes are wanted, 1000 of 2000 are free")

    def test_an_error_on_the_way(self):
        with unittest.mock.patch.dict(os.environ, STANDIN_FAULT="1"):
            self.check("cuda:0: working on it: CUDA says: unspecified launch failure")


main()
