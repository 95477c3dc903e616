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
                        ("attend", "--q", "x.npy", "--k", "x.st", "--v", "x.st", "-o", "new", "--lse", "more"),
                        ("ablate", "--q", "x.npy", "--k", "x.npy", "--v", "x.npy", "--format", "tq4"),
                        ("ablate", "--q", "x.npy", "--k", "x.npy", "--v", "x.npy", "--format", "tq4+sinks"),
                        ("ablate", "--self-test"), ("bench", "--op", "encode"), ("bench", "--op", "decode"),
                        ("bench", "--op", "attend", "--positions", "90")):
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

    def ablate(self, wrong, *options):
        with unittest.mock.patch.dict(os.environ, STANDIN_WRONG=wrong):
            told = self.json("ablate", "--q", "x.npy", "--k", "x.npy", "--v", "x.npy", "--device", "cuda", *options)
        return {row["path"]: row["worst"] for row in told["rows"]}, told["error"], told["verdict"]

    def test_ablate_names_a_device_that_is_wrong(self):
        """Which shows that it is the device's results that are held against float64."""
        for name in ("tq4", "tq4+sinks+recent=5"):
            for accuracy in ("fast", "exact"):
                options = ("--format", name, "--causal", "--accuracy", accuracy)
                worst, error, verdict = self.ablate("decode", *options)
                self.assertEqual([error[key] for key in ("path", "stage", "cause", "head")],
                                 ["decoded", "keys", "scale", 0], verdict)
                self.assertIn("keys are 2 times what they should be", verdict)
                self.assertGreater(worst["decoded"], 1e-3)
                self.assertLess(worst["fused"], 1e-5)
                worst, error, verdict = self.ablate("sums", *options)
                self.assertEqual([error[key] for key in ("path", "stage", "first", "last")],
                                 ["fused", "attention", 0, 49], verdict)
                self.assertIn("keys and values are read rightly, one by one", verdict)
                self.assertLess(worst["decoded"], 1e-5)
                self.assertGreater(worst["fused"], 1e-3)

    def test_bench_tells_nothing_of_a_device_that_is_wrong(self):
        for wrong, op, words in (("decode", "decode", r"other bits than the CPU's"),
                                 ("sums", "attend", r"is off by \S+ of its absolute terms, 3e-03 is allowed")):
            with unittest.mock.patch.dict(os.environ, STANDIN_WRONG=wrong):
                done = self.refused(1, f"^tqkv bench: .*{words}; nothing is told", "bench", "--device", "cuda", "--op",
                                    op, "--positions", "90", "--samples", "1")
            self.assertEqual(done.stdout, "")


main()
