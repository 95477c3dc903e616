# SPDX-License-Identifier: MIT
"""bench: rows, keys and wrong use; bench/compare on rows made up here."""
import json
import os
import re
import subprocess
import sys

from support import TQKV, CommandTest, main

KEYS = ["op", "format", "dim", "domain", "set", "set_bytes", "isa", "threads", "ns_per_row", "gb_per_s",
        "limit", "limit_gb_per_s", "share", "spread", "samples", "version"]
ATTEND_KEYS = ["op", "format", "v_format", "heads", "kv_heads", "dim", "positions", "queries", "page_rows", "arithmetic",
               "isa", "threads", "us", "kv_bytes", "f16_bytes", "read_gb_per_s", "f16_floor_us", "share_f16_floor", "spread", "flops",
               "fma_peak_gflops", "share_fma", "error", "samples", "version"]
COMPARE = os.path.join(os.environ["TQKV_SOURCE"], "bench", "compare")


class Bench(CommandTest):
    def rows(self, *options, samples=3):
        text = self.tqkv("bench", "--json", "--set", "l2", "--samples", str(samples), *options)
        return [json.loads(line) for line in text.splitlines()]

    def test_a_row(self):
        (row,) = self.rows("--op", "decode", "--format", "tq4", "--dim", "128", samples=5)
        self.assertEqual(list(row), KEYS)
        self.assertEqual((row["op"], row["format"], row["dim"], row["domain"], row["set"], row["threads"]),
                         ("decode", "tq4", 128, "rotated", "l2", 1))
        self.assertEqual((row["set_bytes"], row["samples"], row["limit"]), (512 * 1024, 5, "store"))
        self.assertAlmostEqual(row["gb_per_s"] * row["ns_per_row"] / (128 * 4), 1, places=3)

    def test_numbers_make_sense(self):
        for op in ("encode", "decode", "rotate", "requantize"):
            rows = self.rows("--op", op, "--dim", "256", "--format", "tq8-v1")
            self.assertEqual([row["op"] for row in rows], [op])
            for row in rows:
                self.assertEqual(row["limit"], "store" if op == "decode" else "memcpy")
                self.assertEqual(row["domain"], "rotated" if op == "decode" else None)
                self.assertTrue(0 < row["share"] < 5, row)
                self.assertTrue(0 < row["gb_per_s"] and 0 < row["limit_gb_per_s"], row)
                self.assertGreaterEqual(row["spread"], 0)

    def test_levels(self):
        levels = [x["isa"] for x in self.json("kernels")["levels"] if x["available"]]
        for isa in levels:
            for row in self.rows("--isa", isa, "--format", "tq5", "--dim", "96", samples=1):
                self.assertEqual(row["isa"], isa)

    def test_what_is_left_open_is_a_list(self):
        rows = self.rows("--op", "decode", samples=1)
        combined = {(row["format"], row["dim"]) for row in rows}
        self.assertEqual(len(combined), len(rows))
        self.assertLessEqual({(f, d) for f in ("tq2", "tq4", "tq8") for d in (64, 128, 256, 512)}, combined)
        self.assertLessEqual({("tq4-v1", 256), ("tq4-v1", 512)}, combined)
        self.assertFalse({("tq4-v1", 64), ("tq4-v1", 128)} & combined)

    def test_domain(self):
        (row,) = self.rows("--op", "decode", "--domain", "original", "--format", "tq4", "--dim", "64")
        self.assertEqual(row["domain"], "original")

    def test_ram(self):
        text = self.tqkv("bench", "--json", "--set", "ram", "--op", "decode", "--format", "tq4", "--dim", "256",
                         "--samples", "2")
        row = json.loads(text)
        self.assertGreaterEqual(row["set_bytes"], 256 << 20)
        self.assertIn(row["limit"], ("store", "stream"))

    def test_threads(self):
        arguments = ("bench", "--json", "--set", "l2", "--samples", "1", "--format", "tq4", "--dim", "64",
                     "--threads", "2")
        rows = [json.loads(line) for line in self.tqkv(*arguments).splitlines()]
        self.assertEqual([row["op"] for row in rows], ["encode", "decode"])
        self.assertEqual({(row["threads"], row["set_bytes"]) for row in rows}, {(2, 1024 * 1024)})
        self.refused(2, "--threads: rotate runs on one thread", *arguments, "--op", "rotate")

    def test_table(self):
        text = self.tqkv("bench", "--set", "l2", "--op", "rotate", "--samples", "1")
        heading, columns, *rows = text.split("\n\n")[0].splitlines()
        self.assertRegex(heading, r"^# tqkv \d.*1 thread, 1 sample")
        self.assertEqual(len({len(row) for row in rows} | {len(columns)}), 1, text)
        self.assertIn("share  spread", columns)
        self.assertEqual(len(rows), 6, text)
        self.assertRegex(text, r"\n# Of the machine's limit: rotate in l2 \d+-\d+ %\n$")

    def test_misuse(self):
        for pattern, options in (
                ("--op: 'append' is none; there are encode, decode", ("--op", "append")),
                ("--format: 'tq9' is none", ("--format", "tq9")),
                ("--dim: 'wide' is not a whole number", ("--dim", "wide")),
                ("--dim: 16 is not from 32 to 1024", ("--dim", "16")),
                ("--dim: 2048 is not from 32 to 1024", ("--dim", "2048")),
                ("nothing to measure: no format", ("--dim", "100")),
                ("nothing to measure: no format", ("--format", "tq4-v1", "--dim", "128")),
                ("--set: 'l1' is none; there are l2 and ram", ("--set", "l1")),
                ("--threads: 0 is not from 1", ("--threads", "0")),
                ("--samples: 0 is not from 1", ("--samples", "0")),
                ("--isa: no instruction set 'sse'", ("--isa", "sse")),
                ("--domain: 'both' is none", ("--domain", "both")),
                ("--domain belongs to --op decode", ("--domain", "original", "--op", "encode")),
                ("'x' is one argument too many", ("x",))):
            with self.subTest(options=options):
                self.refused(2, pattern, "bench", *options)

    def test_output_that_cannot_be_written(self):
        for extra in ((), ("--json",)):
            with open("/dev/full", "w", encoding="ascii") as full:
                self.refused(1, "standard output: No space left", "bench", "--set", "l2", "--samples", "1", "--op",
                             "decode", "--format", "tq4", "--dim", "64", *extra, stdout=full)

    def test_help_and_man_page(self):
        with open(os.path.join(os.environ["TQKV_SOURCE"], "docs", "tqkv.1"), encoding="ascii") as file:
            page = file.read()
        for command in ("bench", "kernels"):
            text = self.tqkv(command, "--help")
            self.assert_fits_80_columns(text)
            self.assertIn("Examples:\n  tqkv " + command, text)
            part = page.split(f".Ss tqkv {command}\n")[1].split(".Ss ")[0]
            for option in re.findall(r"^ +--([\w-]+)", text, re.M):
                self.assertIn(f"Fl -{option}", part if option != "json" else page)
        self.assertIn(".It Ev TQKV_ISA\n", page)


class Attend(CommandTest):
    """--op attend: one call of attention, by shape."""

    def rows(self, *options, samples=2):
        text = self.tqkv("bench", "--op", "attend", "--json", "--samples", str(samples), *options)
        return [json.loads(line) for line in text.splitlines()]

    def row(self, *options, samples=2):
        (row,) = self.rows(*options, "--arithmetic", "float", samples=samples)
        return row

    def test_both_arithmetics(self):
        shape = ("--format", "tq6", "--v-format", "tq4", "--heads", "4", "--kv-heads", "2", "--dim", "80", "--positions",
                 "200")
        plain, whole = self.rows(*shape)
        self.assertEqual([plain["arithmetic"], whole["arithmetic"]], ["float", "integer"])
        self.assertLess(plain["error"], 2e-6)
        self.assertTrue(2e-6 < whole["error"] < 1e-2, whole)
        (alone,) = self.rows(*shape, "--arithmetic", "integer")
        self.assertEqual(alone["error"], whole["error"])
        self.refused(2, "v1 formats", "bench", "--op", "attend", "--format", "tq8-v1", "--arithmetic", "integer")

    def assert_figures_agree(self, row):
        """Figures have six digits."""
        self.assertEqual(list(row), ATTEND_KEYS)
        self.assertEqual(row["f16_bytes"], 4 * row["kv_heads"] * row["positions"] * row["dim"])
        self.assertAlmostEqual(row["f16_floor_us"] * row["read_gb_per_s"] * 1e3 / row["f16_bytes"], 1, places=4)
        self.assertAlmostEqual(row["share_f16_floor"] * row["us"] / row["f16_floor_us"], 1, places=4)
        self.assertAlmostEqual(row["share_fma"] * row["us"] * 1e3 * row["fma_peak_gflops"] / row["flops"], 1, places=4)
        self.assertTrue(0 <= row["error"] <= 2e-6, row)
        self.assertGreaterEqual(row["spread"], 0)

    def test_a_row(self):
        row = self.row("--format", "tq4", "--heads", "6", "--kv-heads", "2", "--dim", "128", "--positions", "700",
                       samples=3)
        self.assert_figures_agree(row)
        self.assertEqual([row[key] for key in ATTEND_KEYS[:8]], ["attend", "tq4", "tq4", 6, 2, 128, 700, 1])
        self.assertEqual((row["threads"], row["samples"]), (1, 3))
        self.assertEqual(row["kv_bytes"], 2 * 2 * 700 * (128 * 4 // 8 + 2))
        self.assertEqual(row["flops"], 4 * 6 * 700 * 128)
        self.assertGreater(row["error"], 0)

    def test_values_in_another_format(self):
        row = self.row("--format", "tq8", "--v-format", "tq3", "--heads", "2", "--kv-heads", "1", "--dim", "96",
                       "--positions", "65")
        self.assert_figures_agree(row)
        self.assertEqual((row["format"], row["v_format"]), ("tq8", "tq3"))
        self.assertEqual(row["kv_bytes"], 65 * (96 + 2 + 36 + 2))

    def test_both_norms_of_v1(self):
        row = self.row("--format", "tq5-v1", "--heads", "2", "--kv-heads", "2", "--dim", "512", "--positions", "40")
        self.assert_figures_agree(row)
        self.assertEqual(row["kv_bytes"], 2 * 2 * 40 * (512 + 8))

    def test_several_queries_see_what_is_before_them(self):
        row = self.row("--format", "tq4", "--heads", "2", "--kv-heads", "1", "--dim", "64", "--positions", "30",
                       "--queries", "7")
        self.assert_figures_agree(row)
        self.assertEqual(row["flops"], 4 * 2 * 64 * sum(range(24, 31)))
        row = self.row("--format", "tq4", "--heads", "1", "--kv-heads", "1", "--dim", "64", "--positions", "1")
        self.assertEqual((row["flops"], row["queries"]), (4 * 64, 1))

    def test_pages_in_random_order(self):
        """Each row is checked against what was encoded before pages scattered it."""
        for arithmetic in ("float", "integer"):
            for page_rows in (1, 7, 64):
                with self.subTest(arithmetic=arithmetic, page_rows=page_rows):
                    (row,) = self.rows("--format", "tq6", "--v-format", "tq4", "--heads", "4", "--kv-heads", "2",
                                       "--dim", "64", "--positions", "199", "--page-rows", str(page_rows),
                                       "--arithmetic", arithmetic, samples=1)
                    self.assertEqual(row["page_rows"], page_rows)
        text = self.tqkv("bench", "--op", "attend", "--format", "tq4", "--positions", "64", "--samples", "1",
                         "--page-rows", "16")
        self.assertEqual(text.splitlines()[1], "# in pages of 16 positions, which lie in random order")

    def test_levels(self):
        for isa in [x["isa"] for x in self.json("kernels")["levels"] if x["available"]]:
            row = self.row("--isa", isa, "--format", "tq5", "--dim", "96", "--positions", "50", samples=1)
            self.assert_figures_agree(row)
            self.assertEqual((row["isa"], row["heads"], row["kv_heads"]), (isa, 16, 8))

    def test_what_is_left_open_is_a_list(self):
        rows = self.rows("--positions", "64", samples=1)
        shapes = {(row["heads"], row["kv_heads"], row["dim"]) for row in rows}
        self.assertEqual(shapes, {(16, 8, 256), (16, 2, 512), (32, 8, 128)})
        formats = {("tq4", "tq4"), ("tq6", "tq4"), ("tq8", "tq4"), ("tq8", "tq8")} # the second is a cache's default
        self.assertEqual({(row["format"], row["v_format"], row["arithmetic"]) for row in rows},
                         {(k, v, arithmetic) for k, v in formats for arithmetic in ("float", "integer")})
        self.assertEqual(len(rows), 24)
        rows = self.rows("--format", "tq4", "--heads", "1", "--kv-heads", "1", "--dim", "32",
                         "--arithmetic", "float", samples=1)
        self.assertEqual([row["positions"] for row in rows], [4096, 32768])

    def test_samples_are_chosen(self):
        text = self.tqkv("bench", "--op", "attend", "--json", "--format", "tq4", "--heads", "2", "--kv-heads", "2",
                         "--dim", "64", "--positions", "64", "--arithmetic", "float")
        row = json.loads(text)
        self.assert_figures_agree(row)
        self.assertTrue(7 <= row["samples"] <= 31, row)

    def test_threads(self):
        arguments = ("bench", "--op", "attend", "--json", "--samples", "1", "--format", "tq4", "--heads", "4",
                     "--kv-heads", "4", "--dim", "64", "--positions", "300", "--threads", "2",
                     "--arithmetic", "float")
        row = json.loads(self.tqkv(*arguments))
        self.assert_figures_agree(row)
        self.assertEqual(row["threads"], 2)

    def test_table(self):
        text = self.tqkv("bench", "--op", "attend", "--format", "tq4", "--positions", "64", "--samples", "1")
        heading, columns, *rows = text.splitlines()
        self.assertRegex(heading, r"^# tqkv \d.*1 thread; f16 floor")
        self.assertEqual(len({len(row) for row in rows} | {len(columns)}), 1, text)
        self.assertRegex(columns, r"^K +V +heads +D +T +n +in +us +read GB/s +f16 floor us +share +spread +of FMA$")
        self.assertEqual([(row.split()[2], row.split()[6]) for row in rows],
                         [(heads, arithmetic) for heads in ("16/8", "16/2", "32/8") for arithmetic in ("float", "integer")])

    def test_misuse(self):
        for pattern, options in (
                ("--v-format: 'tq1' is none", ("--format", "tq4", "--v-format", "tq1")),
                ("--v-format wants --format beside it", ("--v-format", "tq4")),
                ("--heads: 0 is not from 1", ("--heads", "0")),
                ("--heads: 6 is no multiple of 4", ("--heads", "6", "--kv-heads", "4")),
                ("--kv-heads: 'two' is not a whole number", ("--kv-heads", "two")),
                ("--positions: 0 is not from 1", ("--positions", "0")),
                ("--positions: float16 keys and values would take", ("--positions", "16777216", "--heads", "1024",
                                                                     "--kv-heads", "1024")),
                ("--queries: 0 is not from 1", ("--queries", "0")),
                ("--queries: 11 are more than the 10 positions", ("--queries", "11", "--positions", "10")),
                ("--page-rows: 0 is not from 1 to 4096", ("--page-rows", "0")),
                ("--dim: head_dim 100", ("--dim", "100")),
                ("--dim: head_dim 128: tq4-v1 serves", ("--format", "tq4-v1", "--dim", "128")),
                ("--set does not belong to --op attend", ("--set", "l2")),
                ("--domain does not belong to --op attend", ("--domain", "rotated"))):
            with self.subTest(options=options):
                self.refused(2, pattern, "bench", "--op", "attend", *options)
        for option in ("--heads", "--kv-heads", "--positions", "--queries", "--page-rows", "--v-format"):
            for op in ((), ("--op", "decode")):
                self.refused(2, f"{option} belongs to --op attend", "bench", *op, option, "4")

    def test_output_that_cannot_be_written(self):
        for extra in ((), ("--json",)):
            with open("/dev/full", "w", encoding="ascii") as full:
                self.refused(1, "standard output: No space left", "bench", "--op", "attend", "--samples", "1",
                             "--format", "tq4", "--dim", "64", "--positions", "16", *extra, stdout=full)


class Compare(CommandTest):
    def rows(self, name, shares, **changed):
        row = {"op": "decode", "format": "tq4", "dim": 256, "domain": "rotated", "set": "l2", "isa": "avx2",
               "threads": 1, "gb_per_s": 1.0, "limit": "store", "spread": 0.01, **changed}
        lines = [json.dumps({**row, "share": share}) for share in shares]
        self.write(name, ("\n".join(lines) + "\n").encode())

    def compare(self, *arguments, status=0):
        done = subprocess.run([sys.executable, COMPARE, *arguments], cwd=self.folder, text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout if status == 0 else done.stderr

    def verdict(self, old, new, **changed):
        self.rows("old", old)
        self.rows("new", new, **changed)
        (line,) = self.compare("old", "new").splitlines()[1:]
        return re.match(r"decode +tq4 +256 +rotated +l2 +avx2 +1 +([\d.]+) +([\d.]+) +([\d.]+) +(\d+)  (.*)",
                        line).groups()

    def test_one_run(self):
        self.assertEqual(self.verdict([0.5], [0.75]), ("1.500", "1.470", "1.530", "1", "faster"))
        self.assertEqual(self.verdict([0.5], [0.25])[4], "slower")
        self.assertEqual(self.verdict([0.5], [0.505])[4], "no difference")
        self.assertEqual(self.verdict([0.5], [0.75], spread=0.6)[4], "no difference")

    def test_many_runs(self):
        self.assertEqual(self.verdict([1.0] * 5, [1.1, 1.3, 1.2, 1.5, 1.4]),
                         ("1.300", "1.100", "1.500", "5", "faster"))
        self.assertEqual(self.verdict([1.0] * 5, [1.1, 1.3, 0.9, 1.5, 1.4])[4], "no difference")
        # Of eight ratios the least and the greatest may be left out: 2 * (1 + 8) / 256 is below 0.1.
        self.assertEqual(self.verdict([1.0] * 8, [0.5, 1.1, 1.2, 1.2, 1.2, 1.2, 1.3, 9.0])[1:],
                         ("1.100", "1.300", "8", "faster"))

    def test_other_limits_compare_speeds(self):
        self.rows("old", [0.5], limit="store", gb_per_s=10.0)
        self.assertEqual(self.verdict([0.5], [0.1], limit="stream", gb_per_s=2.0)[0], "2.000")
        self.assertRegex(self.compare("old", "new"), r"\*\n$")

    def test_programs(self):
        text = self.compare(TQKV, TQKV, "--runs", "2", "--op", "decode", "--format", "tq4", "--dim", "64",
                            "--set", "l2", "--samples", "2")
        self.assertRegex(text.splitlines()[1], r"^decode .* 2  (no difference|faster|slower)$")

    def test_attention(self):
        row = {"op": "attend", "format": "tq8", "v_format": "tq4", "heads": 16, "kv_heads": 8, "dim": 256,
               "positions": 4096, "queries": 1, "isa": "avx2", "threads": 1, "us": 1.0, "f16_bytes": 1000,
               "spread": 0.01}
        for name, shares in (("old", (0.5, 0.6)), ("new", (1.0, 1.2))):
            lines = [json.dumps({**row, "share_f16_floor": share}) for share in shares]
            lines.append(json.dumps({**row, "positions": 64, "share_f16_floor": 1.0}))
            self.write(name, ("\n".join(lines) + "\n").encode())
        heading, line, *rest = self.compare("old", "new").splitlines()
        self.assertRegex(line, r"^attend +tq8/tq4 +256 +1@4096 +16/8 +avx2 +1 +2\.000 .* 2  faster$")
        self.assertEqual(heading.index("verdict"), line.index("faster"))
        self.assertEqual(len(rest), 1)
        self.write("new", json.dumps(row).encode())
        self.assertRegex(self.compare("old", "new", status=1), "new, line 1: no row .*share_f16_floor")

    def test_misuse(self):
        self.rows("a", [1.0])
        self.rows("b", [1.0], dim=128)
        self.write("c", b"{}\n")
        for pattern, arguments in (("no row in common", ("a", "b")), ("c, line 1: no row", ("a", "c")),
                                   ("there is no such file", ("a", "d")), ("--op is for programs", ("a", "a", "--op")),
                                   ("one is a program", ("a", TQKV)), ("--runs: 1 or more", ("a", "a", "--runs", "0"))):
            self.assertRegex(self.compare(*arguments, status=1), pattern)


main()
