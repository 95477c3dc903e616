# SPDX-License-Identifier: MIT
"""--device where there is none: what is said, the status, and that nothing is written or done instead."""
import os
import unittest.mock

from support import CommandTest, gaussian, main

WRITING = ("encode", "decode", "attend")
COMMANDS = (*WRITING, "ablate", "bench")


class NoDevice(CommandTest):
    def setUp(self):
        super().setUp()
        # Also on a machine with a device.
        environment = unittest.mock.patch.dict(os.environ, CUDA_VISIBLE_DEVICES="")
        environment.start()
        self.addCleanup(environment.stop)
        self.write_npy("x.npy", (2, 5, 64), gaussian(2 * 5 * 64))
        self.tqkv("encode", "x.npy", "-o", "x.st", "--format", "tq4")

    def arguments(self, command, *more):
        return {"encode": ("encode", "x.npy", "-o", "new", "--format", "tq4"),
                "decode": ("decode", "x.st", "-o", "new"),
                "attend": ("attend", "--q", "x.npy", "--k", "x.st", "--v", "x.st", "-o", "new", "--lse", "new.lse"),
                "ablate": ("ablate", "--q", "x.npy", "--k", "x.npy", "--v", "x.npy", "--format", "tq4", "--json"),
                "bench": ("bench", "--op", "attend", "--samples", "1"),
                }[command] + more

    def test_wrong_words(self):
        for command in COMMANDS:
            for text in ("tpu", "CUDA", "cuda0", "cudax:0", "gpu:0", "", "cpu:0", " cuda"):
                self.refused(2, f"^tqkv {command}: --device: '{text}' is none; there are cpu, cuda and cuda:N\nTry",
                             *self.arguments(command, f"--device={text}"))
            for text in ("cuda:", "cuda:x", "cuda:-1", "cuda:+1", "cuda:1x", "cuda: 1", "cuda:0:1", "cuda:10000",
                         "cuda:99999999999999999999"):
                self.refused(2, f"--device: '{text.replace('+', '.')}': a device's number is a whole one from 0 to "
                                "9999, as in cuda:0\nTry", *self.arguments(command, "--device", text))
            self.refused(2, "--device is given twice",
                         *self.arguments(command, "--device", "cpu", "--device", "cpu"))

    def test_the_cpu_by_name(self):
        told = [self.tqkv(*self.arguments("ablate", *device)) for device in ((), ("--device", "cpu"))]
        self.assertEqual(told[0], told[1])
        self.assertIn('"device": "cpu"', told[0])
        for command in WRITING:
            self.tqkv(*self.arguments(command))
            usual = self.read("new")
            os.remove(self.path("new"))
            self.tqkv(*self.arguments(command, "--device", "cpu"))
            self.assertEqual(self.read("new"), usual)
            os.remove(self.path("new"))

    def test_nothing_falls_back(self):
        built = self.json("kernels")["devices"] is not None
        for command in COMMANDS:
            for text, number in (("cuda", 0), ("cuda:0", 0), ("cuda:1", 1), ("cuda:999", 999)):
                why = (f"device {number}: CUDA has none .is there a driver.. and says: \\w" if built else
                       "this build of tqkv has no CUDA; build it where nvcc is on PATH .*--device cpu")
                done = self.refused(1, f"^tqkv {command}: --device cuda:{number}: {why}",
                                    *self.arguments(command, "--device", text))
                self.assertEqual(done.stdout, "")
                self.assertEqual(done.stderr.count("\n"), 1)
            if command not in WRITING:
                continue
            self.write("new", b"old")
            self.refused(1, "--device cuda:0", *self.arguments(command, "--device", "cuda"))
            self.assertEqual(self.read("new"), b"old")
            os.remove(self.path("new"))

    def test_wrong_use_is_told_before_a_device_is_asked_for(self):
        self.refused(2, "--format: 'tq9' is none", "encode", "x.npy", "-o", "new", "--format", "tq9", "--device",
                     "cuda")
        for options, word in ((("--threads", "2"), "--threads does nothing with --device cuda"),
                              (("--splits", "2"), "--splits does nothing with --device cuda"),
                              (("--path", "decoded"), "--path decoded is the CPU's"),
                              (("--accuracy", "best"), "--accuracy: 'best' is none; there are fast and exact")):
            self.refused(2, word, *self.arguments("attend", "--device", "cuda", *options))
        for options, word in ((("--threads", "2"), "--threads does nothing with --device cuda"),
                              (("--set", "ram"), "--set does nothing with --device cuda"),
                              (("--isa", "scalar"), "--isa does nothing with --device cuda"),
                              (("--op", "rotate"), "--op rotate is timed on the CPU"),
                              (("--op", "decode", "--accuracy", "exact"), "--accuracy belongs to --op attend"),
                              (("--op", "decode", "--heads", "4"), "--heads belongs to --op attend")):
            self.refused(2, word, "bench", "--device", "cuda", *options)
        for command in ("attend", "ablate", "bench"):
            for device in ((), ("--device", "cpu")):
                self.refused(2, "--accuracy does nothing without --device cuda",
                             *self.arguments(command, "--accuracy", "exact", *device))
        self.refused(2, "--threads does nothing with --self-test", "ablate", "--self-test", "--device", "cuda",
                     "--threads", "2")
        self.refused(1, "^tqkv ablate: --device cuda:0: ", "ablate", "--self-test", "--device", "cuda")

    def test_commands_of_the_cpu(self):
        for command in ("info", "compare", "sweep", "requantize", "codebook", "formats", "kernels", "eval",
                        "generate"):
            for option in (("--device", "cuda"), ("--device=cpu",)):
                self.refused(2, f"^tqkv {command}: --device: {command} works on the CPU; encode, decode, attend, "
                                "ablate and bench take it\nTry", command, *option)
        self.refused(2, "--devices: unknown option", "bench", "--devices")

    def test_kernels_tells_of_none(self):
        self.assertIn(self.json("kernels")["devices"], (None, []))
        self.assertRegex(self.tqkv("kernels"), r"\n\n(There is no CUDA device|This build has no CUDA)\.\n$")

    def test_help_and_man_page(self):
        for command in COMMANDS:
            self.check_documented(command)
            self.assertIn("--device=cpu|cuda[:N]", self.tqkv(command, "--help"))


main()
