# SPDX-License-Identifier: MIT
"""bench/gpu/report.py on figures made up here. Usage: gpu_report.py SOURCE"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
GPU = os.path.join(sys.argv.pop(1), "bench", "gpu")
sys.path.insert(0, GPU)
import report  # noqa: E402

SHAPE = dict(zip(report.SHAPE, (32, 8, 128, 8, 32768, 1)))
TIMED = {"p10": 99.0, "p90": 101.0, "replays": 31, "launches": 4, "sets": 2, "began": 10.0, "ended": 10.3}


def attention(us, **changed):
    row = {"kind": "attention", **SHAPE, "k": "tq4", "v": "tq4", "accuracy": "fast", "page_rows": 0, "options": "plain",
           "bytes": 276824064, **TIMED, **changed}
    return {**row, "us": us} if us is not None else {**row, "failed": "tq_cuda_attention_plan: no NVRTC"}


def baseline(name, us, **changed):
    return {"kind": "baseline", "name": name, **SHAPE, **TIMED, "us": us, **changed}


def limit(name, gb_per_s):
    return {"kind": "limit", "name": name, "gb_per_s": gb_per_s}


def encode(us, **changed):
    return {"kind": "encode", "tokens": 1, "kv_heads": 8, "dim": 128, "k": "tq4", "v": "tq4", "type": "bf16",
            "centres": False, "source_bytes": 4096, **TIMED, "us": us, **changed}


LIMITS = [limit("read", 3000), limit("read", 3100), limit("store", 2700)]
BF16 = [baseline("cuDNN", 360), baseline("flash", 365), baseline("cuDNN", 364), baseline("flash", 340),
        {"kind": "baseline", "name": "FA3", **SHAPE, "failed": "no"}]


def cells(text, first):
    """The cells of the first row of a table that begins so."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {first} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


class Report(unittest.TestCase):
    def join(self, *rows, samples=()):
        return report.join([*LIMITS, *rows], BF16, list(samples))

    def test_the_best_peer_is_by_the_medians_of_both_runs(self):
        (row,) = self.join(attention(100.0))["attention"]
        self.assertEqual((row["bf16"]["name"], row["bf16"]["us"]), ("flash", 352.5))
        self.assertAlmostEqual(row["contiguous"]["times"], 3.525)
        self.assertAlmostEqual(row["contiguous"]["of_read"], 276824064 / 100e-6 / 3100e9)

    def test_what_is_reached_and_what_is_not(self):
        for us, asked in ((100.0, ">= 3.3"), (110.0, "**below: >= 3.3**"), (None, "**not measured: >= 3.3**")):
            text = report.page(self.join(attention(us)))
            self.assertIn(asked, cells(text, "tq4"))
            self.assertEqual("reach it." in text.replace("\n", " "), us == 100.0)
            self.assertEqual("no NVRTC" in text, us is None)

    def test_repetitions_count_once(self):
        run = self.join(attention(100.0), attention(102.0), attention(104.0))
        self.assertEqual([row["contiguous"]["us"] for row in run["attention"]], [102.0])

    def test_pages_are_beside_what_is_contiguous(self):
        run = self.join(attention(95.0), attention(104.0, page_rows=64))
        (row,) = run["attention"]
        self.assertAlmostEqual(row["pages_share"], 95 / 104)
        self.assertIn("**below: >= 0.95**", cells(report.page(run), "tq4"))

    def test_at_512_the_floor_is_compared_with(self):
        (row,) = self.join(attention(100.0, heads=16, kv_heads=2, dim=512))["attention"]
        self.assertEqual(row["bf16"]["name"], "floor")
        self.assertAlmostEqual(row["contiguous"]["times"], 4 * 8 * 2 * 32768 * 512 / 3100e9 / 100e-6)
        self.assertEqual(row["asked"], 3.2)

    def test_the_default_has_its_row(self):
        run = self.join(attention(130.0, k="tq6", options="helpers"))
        self.assertIn(">= 2.5", cells(report.page(run), "K tq6, V tq4, all defaults"))

    def test_what_is_switched_on_is_beside_plain(self):
        run = self.join(attention(100.0), attention(125.0, options="softcap"),
                        attention(20.0, positions=4096), attention(21.0, options="window-4096"))
        self.assertEqual([(row["options"], round(row["share"], 3)) for row in run["switched"]],
                         [("softcap", 0.8), ("window-4096", 0.952)])
        text = report.page(run)
        self.assertIn("**below: >= 0.9**", cells(text, "softcap"))
        self.assertIn(">= 0.9", cells(text, "a window of 4,096"))

    def test_encoding_and_decoding(self):
        many = {"tokens": 65536, "type": "f32", "source_bytes": 536870912}
        decode = {"kind": "decode", "positions": 131072, "kv_heads": 8, "dim": 128, "format": "tq4", "type": "bf16",
                  "domain": "original", "stored_bytes": 268435456, **TIMED, "us": 130.0}
        run = self.join(encode(3.6), encode(3.4), encode(250.0, **many), encode(300.0, **many), decode)
        text = report.page(run)
        for words in ("**above: <= 3.5 us**", "  <= 3.5 us |", "  >= 65% |", "**below: >= 65%**"):
            self.assertIn(words, text)
        self.assertIn("**below: >= 80%**", cells(text, "decode, 131,072 positions, tq4 to bf16, original"))

    def test_clocks_and_power_are_those_of_the_row(self):
        samples = [{"time": 9.0, "sm_mhz": 100.0, "watts": 900.0}, {"time": 10.1, "sm_mhz": 1700.0, "watts": 600.0},
                   {"time": 10.2, "sm_mhz": 1900.0, "watts": None}]
        (row,) = self.join(attention(100.0), samples=samples)["attention"]
        self.assertEqual((row["contiguous"]["sm_mhz"], row["contiguous"]["watts"]), (1800.0, 600.0))

    def test_nothing_at_all(self):
        text = report.page(report.join([], [], []))
        self.assertIn("of 0 figures", text.replace("\n", " "))

    def test_tables_are_aligned(self):
        text = report.page(self.join(attention(100.0), attention(1000.0, batch=32), encode(3.0)))
        for table in text.split("\n\n"):
            lines = [line for line in table.splitlines() if line.startswith("|")]
            self.assertLessEqual(len({len(line) for line in lines}), 1, table)

    def test_as_a_command(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(self.join(attention(100.0)), file)
            file.flush()
            done = subprocess.run([sys.executable, os.path.join(GPU, "report.py"), file.name], stdout=subprocess.PIPE,
                                  text=True, check=True)
        self.assertIn("3.52", cells(done.stdout, "tq4"))


unittest.main()
