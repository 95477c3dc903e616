# SPDX-License-Identifier: MIT
"""Instruction sets: what `kernels` tells of them, and what TQKV_ISA does to every command."""
import os
import re

from support import CommandTest, gaussian, main

LEVELS = ["scalar", "avx2", "avxvnni", "avx512", "avx512vbmi", "amx", "neon", "neondotprod"]
OPERATIONS = {"rotate", "sum_squares", "quantize", "dequantize", "pack", "unpack", "requantize", "scan", "multiply",
         "reduce_max", "scale", "f16_to_f32", "f32_to_f16", "bf16_to_f32", "f32_to_bf16",
              "score", "accumulate", "score_codes", "accumulate_codes", "softcap", "exp_sum",
              "query_digits", "score_digits", "weight_digits", "accumulate_digits", "add_sums"}


class Kernels(CommandTest):
    def setUp(self):
        super().setUp()
        # The suite itself may be run at a level.
        environment = os.environ.pop("TQKV_ISA", None)
        if environment is not None:
            self.addCleanup(os.environ.__setitem__, "TQKV_ISA", environment)
        self.addCleanup(os.environ.pop, "TQKV_ISA", None)

    def available(self):
        return [level["isa"] for level in self.json("kernels")["levels"] if level["available"]]

    def test_keys(self):
        told = self.json("kernels")
        self.assertEqual(list(told), ["levels", "kernels", "devices"])
        for device in told["devices"] or ():
            self.assertEqual(list(device), ["device", "name", "capability", "memory_bytes", "served"])
        self.assertEqual([level["isa"] for level in told["levels"]], LEVELS)
        for level in told["levels"]:
            self.assertEqual(list(level), ["isa", "available"])
            self.assertIsInstance(level["available"], bool)
        for kernel in told["kernels"]:
            self.assertEqual(list(kernel), ["operation", "isa"])
            self.assertIn(kernel["isa"], self.available())
        operations = [kernel["operation"] for kernel in told["kernels"]]
        self.assertEqual(len(operations), len(set(operations)))
        self.assertEqual(OPERATIONS, set(operations))

    def test_levels_follow_the_environment(self):
        levels = self.available()
        self.assertEqual(levels[0], "scalar")
        for i, level in enumerate(levels):
            os.environ["TQKV_ISA"] = level
            used = {kernel["isa"] for kernel in self.json("kernels")["kernels"]}
            self.assertLessEqual(used, set(levels[:i + 1]))
            if level == "scalar":
                self.assertEqual(used, {"scalar"})

    def test_text_tells_the_same(self):
        text = self.tqkv("kernels")
        self.assert_fits_80_columns(text)
        told = self.json("kernels")
        tables = [part.splitlines() for part in text.split("\n\n")]
        for table, names in zip(tables, (("level", "available"), ("operation", "kernel"))):
            self.assertEqual(len({len(line) for line in table}), 1, table)
            self.assertEqual(tuple(table[0].split()), names)
        self.assertEqual([line.split() for line in tables[0][1:]],
                         [[x["isa"], "yes" if x["available"] else "no"] for x in told["levels"]])
        self.assertEqual([line.split() for line in tables[1][1:]],
                         [[x["operation"], x["isa"]] for x in told["kernels"]])

    def test_a_wrong_level_stops_every_command(self):
        self.write_npy("x.npy", (1, 2, 64), gaussian(128))
        commands = re.findall(r"^  (\w+) ", self.tqkv("--help"), re.M)
        self.assertIn("kernels", commands)
        missing = next(level for level in LEVELS if level not in self.available())
        for wrong, word in (("foo", "no instruction set 'foo': there are scalar"),
                            ("SCALAR", "no instruction set 'SCALAR'"),
                            (missing, missing + " is not available on this machine")):
            os.environ["TQKV_ISA"] = wrong
            for command in commands:
                self.refused(2, f"^tqkv {command}: TQKV_ISA: {word}", command, "x.npy")

    def test_an_empty_level_is_none(self):
        before = self.json("kernels")
        os.environ["TQKV_ISA"] = ""
        self.assertEqual(self.json("kernels"), before)

    def test_misuse(self):
        self.refused(2, "'x' is one argument too many", "kernels", "x")
        self.refused(2, "--nope: unknown option", "kernels", "--nope")


main()
