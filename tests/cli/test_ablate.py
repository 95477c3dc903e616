# SPDX-License-Identifier: MIT
"""tqkv ablate: its figures against float64, its rings, and its verdicts on what is broken on purpose."""
import math

from attention import attend, cosine, heads, nrmse
from support import CommandTest, gaussian, main

H, G = 4, 2
PATHS = ["dense", "decoded", "fused", "requantised 5", "requantised 6", "requantised 8"]


class Ablate(CommandTest):
    def make(self, dim, n=3, positions=40, scale=1.0):
        for name, count, rows, seed in (("q", H, n, 1), ("k", G, positions, 2), ("v", G, positions, 3)):
            self.write_npy(f"{name}.npy", (count, rows, dim), gaussian(count * rows * dim, seed, scale))

    def arguments(self, fmt, *options):
        return ("ablate", "--q", "q.npy", "--k", "k.npy", "--v", "v.npy", "--format", fmt, *options)

    def ablate(self, fmt, *options):
        told = self.json(*self.arguments(fmt, *options))
        self.assertEqual([row["path"] for row in told["rows"]], PATHS)
        told["rows"] = {row["path"]: row for row in told["rows"]}
        return told

    def tensor(self, name):
        return heads(*self.read_npy(name))

    def exact(self, k, v, **mask):
        return attend(self.tensor("q.npy"), self.tensor(k), self.tensor(v), **mask)

    def decode(self, name, fmt):
        self.tqkv("encode", f"{name}.npy", "-o", f"{name}.st", "--format", fmt)
        self.tqkv("decode", f"{name}.st", "-o", f"{name}-decoded.npy")

    def check_figures(self, fmt, v_format, options, mask):
        told = self.ablate(fmt, "--v-format", v_format, *options)
        self.decode("k", fmt)
        self.decode("v", v_format)
        original, _, p = self.exact("k.npy", "v.npy", **mask)
        decoded, _, r = self.exact("k-decoded.npy", "v-decoded.npy", **mask)
        n = len(original)
        cosines = [cosine(a, b) for a, b in zip(decoded, original)]
        kl = math.fsum(x * math.log(x / y) for a, b in zip(p, r) for x, y in zip(a, b) if x > 0) / n
        top1 = sum(max(range(len(a)), key=a.__getitem__) == max(range(len(b)), key=b.__getitem__)
                   for a, b in zip(p, r)) / n
        for path in ("decoded", "fused"):
            row = told["rows"][path]
            self.assertLess(row["worst"], 2e-6)
            self.assertLess(row["nrmse_decoded"], 4e-6)
            self.assertAlmostEqual(row["nrmse_original"] / nrmse(decoded, original), 1, places=4)
            self.assertAlmostEqual(row["cosine_mean"], math.fsum(cosines) / n, places=6)
            self.assertAlmostEqual(row["cosine_p1"], min(cosines), places=6)
            # A single key in sight has all weight, whatever it is.
            self.assertAlmostEqual(row["kl"], kl, delta=1e-3 * kl + 1e-12)
            self.assertAlmostEqual(row["top1"], top1)
            for h in range(H):
                own = cosines[h * n // H:(h + 1) * n // H]
                self.assertAlmostEqual(told["heads"][path][h]["cosine_mean"], math.fsum(own) / len(own), places=6)
                self.assertAlmostEqual(told["heads"][path][h]["cosine_p1"], min(own), places=6)
        dense = told["rows"]["dense"]
        self.assertLess(dense["nrmse_original"], 4e-6)
        self.assertAlmostEqual(dense["nrmse_decoded"] / nrmse(original, decoded), 1, places=4)
        self.assertEqual((dense["top1"], round(dense["cosine_mean"], 6)), (1.0, 1.0))
        self.assertLess(dense["kl"], 1e-9)
        self.assertIsNone(told["error"])
        self.assertRegex(told["verdict"], "^representation floor: every path agrees with float64")
        return told

    def test_figures(self):
        for dim, fmt, v_format, options, mask in (
                (64, "tq4", "tq4", (), {}), (96, "tq2", "tq3", ("--causal",), {"causal": True}),
                (128, "tq5", "tq4", ("--softcap", "0.5", "--scale", "0.3"), {"softcap": 0.5, "scale": 0.3}),
                (256, "tq4-v1", "tq4-v1", ("--causal",), {"causal": True}),
                (512, "tq8-v1", "tq5-v1", (), {}), (256, "tq6-v1", "tq4", (), {})):
            with self.subTest(dim=dim, fmt=fmt):
                self.make(dim)
                told = self.check_figures(fmt, v_format, options, mask)
                self.assertEqual((told["format"], told["v_format"], told["head_dim"]), (fmt, v_format, dim))
                self.assertEqual(told["ring"], {"capacity": 40, "held": 40, "written": 40, "ring_start": 0})

    def test_requantised_is_what_a_format_of_those_bits_costs(self):
        """Snapping rotated vectors of unit variance is encoding without packing."""
        for dim, family, start in ((64, "", "tq4"), (256, "-v1", "tq4-v1"), (512, "-v1", "tq4-v1")):
            self.make(dim)
            rows = self.ablate(start)["rows"]
            for bits in (5, 6, 8):
                with self.subTest(dim=dim, bits=bits):
                    alone = self.ablate(f"tq{bits}{family}")["rows"]["decoded"]
                    snapped = rows[f"requantised {bits}"]
                    self.assertAlmostEqual(snapped["nrmse_original"] / alone["nrmse_original"], 1, places=3)
                    self.assertAlmostEqual(snapped["kl"] / alone["kl"], 1, places=3)
            self.assertGreater(rows["fused"]["nrmse_original"], 1.5 * rows["requantised 5"]["nrmse_original"])

    def test_windows_go_through_a_ring(self):
        # Longer than two rings, shorter than one, a window longer than what is there.
        for positions, window, n in ((60, 9, 3), (12, 9, 3), (12, 50, 12), (5, 1, 1)):
            with self.subTest(positions=positions, window=window):
                self.make(64, n=n, positions=positions)
                mask = {"causal": True, "window": window}
                told = self.check_figures("tq4", "tq4", ("--causal", "--window", str(window)), mask)
                ring = told["ring"]
                self.assertEqual(ring["capacity"], min(window, positions) + n + 3)
                self.assertEqual(ring["held"], min(ring["capacity"], positions))
                self.assertGreaterEqual(ring["written"], max(positions, 2 * ring["capacity"] + 1))
                self.assertEqual(ring["ring_start"], (ring["written"] - ring["held"]) % ring["capacity"])
                self.assertNotEqual(ring["ring_start"], 0)

    def check_fault(self, fault, cause, words, told):
        error = told["error"]
        self.assertEqual((told["fault"], error["path"], error["stage"], error["cause"]),
                         (fault, "fused", "keys", cause))
        self.assertGreater(error["size"], 1000 * error["bound"])
        self.assertRegex(told["verdict"], "^kernel error in path fused: first in KV head 0, positions? .*" + words)
        self.assertLess(told["rows"]["decoded"]["worst"], 2e-6)

    def test_faults_are_named(self):
        faults = (("scale", "scale", r"22\.62\d times what they should be: norms multiplied by sqrt\(512\)"),
                  ("ring", "order", r"position p has the keys of position p \+ 1: a ring start off by 1"),
                  ("signs", "signs", "wrong sign in .* coordinates: a sign table left out"))
        for dim, fmt in ((64, "tq4"), (96, "tq3"), (128, "tq8"), (256, "tq4-v1"), (512, "tq6-v1")):
            self.make(dim)
            for options in ((), ("--causal", "--window", "7")):
                for fault, cause, words in faults:
                    with self.subTest(dim=dim, fault=fault, options=options):
                        told = self.ablate(fmt, "--fault", fault, *options)
                        self.check_fault(fault, cause, words, told)
                        held = told["ring"]["held"]
                        self.assertEqual((told["error"]["first"], told["error"]["last"]), (40 - held, 39))
                        # An order that all queries see whole does not show in their outputs.
                        if fault != "ring" or options:
                            self.assertGreater(told["rows"]["fused"]["worst"], 1e-3)

    def test_large_and_tiny_tensors(self):
        for scale in (1e-6, 30.0):
            self.make(64, scale=scale)
            told = self.ablate("tq4", "--causal")
            self.assertIsNone(told["error"], told["verdict"])
            self.assertEqual(self.ablate("tq4", "--fault", "scale")["error"]["cause"], "scale")
        # The bound grows with the scores.
        self.assertGreater(told["bound"], 2e-5)

    def test_one_position(self):
        self.make(64, n=1, positions=1)
        self.assertIsNone(self.ablate("tq4", "--causal")["error"])
        for options in ((), ("--window", "1")):
            self.refused(2, "holds one position", *self.arguments("tq4", "--fault", "ring", *options))
        self.make(64, n=1, positions=2)
        self.assertEqual(self.ablate("tq4", "--fault", "ring", "--window", "1")["error"]["cause"], "order")

    def test_zeros(self):
        self.make(64)
        self.write_npy("k.npy", (G, 40, 64), [0.0] * (G * 40 * 64))
        told = self.ablate("tq4")
        self.assertIsNone(told["error"])
        self.write_npy("v.npy", (G, 40, 64), [0.0] * (G * 40 * 64))
        told = self.ablate("tq4")
        self.assertEqual([row["nrmse_original"] for row in told["rows"].values()], [0.0] * 6)

    def test_self_test(self):
        text = self.tqkv("ablate", "--self-test")
        self.assert_fits_80_columns(text)
        self.assertIn("Every fault was named, and nothing else.", text)
        told = self.json("ablate", "--self-test")
        self.assertIs(told["passed"], True)
        self.assertEqual({(c["format"], c["head_dim"]) for c in told["cases"]},
                         {("tq4", "64"), ("tq4", "96"), ("tq4", "128"), ("tq4-v1", "256"), ("tq8-v1", "512")})
        self.assertEqual([c["fault"] for c in told["cases"]], ["none", "scale", "ring", "signs"] * 5)
        for case in told["cases"]:
            self.assertEqual(case["result"], "pass")
            start = "representation floor" if case["fault"] == "none" else "kernel error in path fused"
            self.assertTrue(case["verdict"].startswith(start), case)
        self.refused(2, "--q does nothing with --self-test", "ablate", "--self-test", "--q", "q.npy")
        self.refused(2, "--causal does nothing", "ablate", "--self-test", "--causal")

    def ablate_cache(self, name, *options):
        told = self.json(*self.arguments(name, *options))
        self.assertEqual([row["path"] for row in told["rows"]], PATHS[:3])
        self.assertIsNone(told["error"], told["verdict"])
        self.assertEqual((told["name"], told["ring"]), (name, None))
        return told, {row["path"]: row for row in told["rows"]}

    def test_caches_of_any_configuration(self):
        """Both paths agree with float64 on what a cache holds that ages; what it costs attend's outputs tell."""
        self.make(64, n=40, positions=400)
        original, _, _ = self.exact("k.npy", "v.npy", causal=True)
        for name in ("default", "tq6/tq4+centre+recent+sinks", "tq4+centre=100", "tq3/tq5+sinks=7", "tq5+recent=33",
                     "tq4+centre=all+sinks=2+unbiased", "tq4+centre=20+recent=70", "tq4+plain"):
            with self.subTest(name=name):
                if name == "tq4+plain":
                    told = self.ablate(name, "--causal")
                    rows = told["rows"]
                else:
                    told, rows = self.ablate_cache(name, "--causal")
                for path in ("decoded", "fused"):
                    self.assertLess(rows[path]["worst"], 2e-6)
                    self.assertLess(rows[path]["nrmse_decoded"], 4e-6)
                self.tqkv("attend", "--q", "q.npy", "--k", "k.npy", "--v", "v.npy", "-o", "o.npy", "--causal",
                          "--arithmetic", "float", "--format", name)
                values = self.read_npy("o.npy")[1]
                got = [values[i:i + 64] for i in range(0, len(values), 64)]
                cosines = [cosine(a, b) for a, b in zip(got, original)]
                for path in ("decoded", "fused"):
                    self.assertAlmostEqual(rows[path]["nrmse_original"] / nrmse(got, original), 1, places=4)
                    self.assertAlmostEqual(rows[path]["cosine_mean"], math.fsum(cosines) / len(cosines), places=6)
                self.assertLess(rows["dense"]["nrmse_original"], 4e-6)

    def test_caches_in_windows_and_without_a_mask(self):
        self.make(64, n=40, positions=400)
        for options in (("--causal", "--window", "90"), ("--causal", "--window", "1000"), ("--window", "90"), (),
                        ("--softcap", "2", "--scale", "0.3")):
            with self.subTest(options=options):
                for row in self.ablate_cache("tq4+centre+recent=20+sinks=2", *options)[1].values():
                    self.assertLess(row["worst"], 2e-6)
        self.make(32, n=7, positions=5)
        self.ablate_cache("tq4+centre=2+sinks")

    def test_v1_in_caches(self):
        self.make(256, positions=60)
        self.ablate_cache("tq6-v1/tq4-v1+recent=8+sinks", "--causal")

    def test_a_centre_that_is_left_out_is_named(self):
        self.make(64, n=20, positions=200)
        told = self.json(*self.arguments("tq6/tq4+centre=100+recent+sinks", "--causal", "--fault", "centre"))
        self.assertIsNone(told["error"])  # these keys have a mean near 0: there is no centre to leave out
        shift = [3.0 * x for x in gaussian(64, 9)]
        self.write_npy("k.npy", (G, 200, 64),
                       [x + shift[i % 64] for i, x in enumerate(gaussian(G * 200 * 64, 2))])
        told = self.json(*self.arguments("tq6/tq4+centre=100+recent+sinks", "--causal", "--fault", "centre"))
        error = told["error"]
        self.assertEqual((error["path"], error["stage"], error["cause"], error["first"], error["last"]),
                         ("fused", "keys", "centre", 1, 135))
        self.assertRegex(told["verdict"], "keys of neighbours are off by the same vector: a centre left out")
        rows = {row["path"]: row for row in told["rows"]}
        self.assertLess(rows["decoded"]["worst"], 2e-6)
        self.assertGreater(rows["fused"]["kl"], 2 * rows["decoded"]["kl"])
        self.refused(2, "--fault centre: 'tq4' has no centre", *self.arguments("tq4", "--fault", "centre"))
        self.refused(2, "--fault ring: for formats without", *self.arguments("default", "--fault", "ring"))
        self.refused(2, "--fault: breaks one format", *self.arguments("tq4,tq6", "--fault", "ring"))

    def test_formats_side_by_side(self):
        self.make(64, n=30, positions=300)
        base = ("ablate", "--q", "q.npy", "--k", "k.npy", "--v", "v.npy", "--causal")
        names = ["tq6/tq4+centre+recent+sinks", "default", "tq4", "tq8/tq4+recent=9"]
        told = self.json(*base, "--formats", ",".join(names))
        self.assertEqual([one["name"] for one in told["formats"]], names)
        text = self.tqkv(*base, "--formats", ",".join(names))
        self.assert_fits_80_columns(text)
        for one in told["formats"]:
            alone = self.json(*base, "--format", one["name"])
            rows = [row for row in alone["rows"] if row["path"] in ("decoded", "fused")]
            self.assertEqual((one["rows"], one["bits_per_value"]), (rows, alone["bits_per_value"]))
            self.assertRegex(text, rf"(?m)^{one['name'].replace('+', '.')} +{one['bits_per_value']:.3f} ")
        self.assertIn("representation floor: attention on codes and on the decoded cache agree",
                      " ".join(text.split()))
        self.assertEqual(told["formats"][0]["rows"], told["formats"][1]["rows"])
        self.assertIn("default", [one["name"] for one in self.json(*base)["formats"]])
        self.assert_fits_80_columns(self.tqkv(*base))
        self.refused(2, "--format and --formats are the same", *base, "--format", "tq4", "--formats", "tq6")
        self.refused(2, "a name between commas is missing", *base, "--formats", "tq4,,tq6")

    def test_threads_do_not_matter(self):
        self.make(64, n=70, positions=300)
        for name in ("tq4", "default"):
            seen = [self.json(*self.arguments(name, "--causal", "--threads", threads)) for threads in "127"]
            self.assertEqual(seen[0], seen[1])
            self.assertEqual(seen[0], seen[2])

    def test_text(self):
        self.make(64, n=5)
        for options in ((), ("--window", "6"), ("--fault", "ring"), ("--fault", "signs")):
            text = self.tqkv(*self.arguments("tq4", *options))
            self.assert_fits_80_columns(text)
            for path in PATHS:
                self.assertRegex(text, rf"(?m)^{path} +\d\.\de[-+]\d\d")
            flat = " ".join(text.split())
            told = self.ablate("tq4", *options)
            self.assertIn(told["verdict"], flat)
            ring = told["ring"]
            self.assertIn("4 heads, 2 KV heads, 5 queries, 40 positions, head dimension 64, scale 0.125;", flat)
            self.assertIn(f"a ring of {ring['capacity']} slots, {ring['written']} positions written, the last "
                          f"{ring['held']} held from slot {ring['ring_start']}" if "--window" in options
                          else "caches in slots 0 to 39", flat)

    def test_json(self):
        self.make(64)
        told = self.json(*self.arguments("tq4"))
        self.assertEqual(list(told), ["name", "format", "v_format", "bits_per_value", "device", "accuracy", "fault", "n_heads",
                                      "n_kv_heads", "n_queries", "n_positions", "head_dim", "scale", "ring", "rows", "heads", "bound",
                                      "error", "verdict"])
        self.assertEqual((told["device"], told["accuracy"]), ("cpu", None))
        self.assertEqual(list(told["rows"][0]), ["path", "worst", "nrmse_decoded", "nrmse_original",
                                                 "cosine_mean", "cosine_p1", "top1", "kl"])
        self.assertEqual(sorted(self.json(*self.arguments("tq4", "--fault", "scale"))["error"]),
                         ["bound", "cause", "first", "head", "last", "path", "size", "stage"])

    def test_wrong_use(self):
        self.make(64)
        for missing in ("q", "k", "v"):
            rest = [x for name in "qkv" if name != missing for x in (f"--{name}", f"{name}.npy")]
            self.refused(2, f"--{missing} {missing.upper()}.npy is missing", "ablate", *rest, "--format", "tq4")
        for options, pattern in ((("--v-format", "tq9"), "--v-format: 'tq9' is none"),
                                 (("--fault", "all"), "--fault: 'all' is none; there are scale, ring, signs and centre"),
                                 (("--window", "0"), "--window: a window of 0"),
                                 (("--window=-3",), "--window: '-3' is not a whole number"),
                                 (("--softcap", "0"), "--softcap: '0' is not above 0"),
                                 (("--scale", "nan"), "--scale: 'nan' is not finite")):
            self.refused(2, pattern, *self.arguments("tq4", *options))
        self.refused(2, "'tq1': there is no format 'tq1'", *self.arguments("tq1"))
        self.refused(2, "'q8_0': keys and values in tq formats are wanted here", *self.arguments("q8_0"))
        self.refused(2, "--v-format goes with one plain format", *self.arguments("default", "--v-format", "tq4"))

    def test_bad_tensors(self):
        self.make(64)
        self.write_npy("three.npy", (3, 2, 64), gaussian(3 * 2 * 64))
        self.write_npy("long.npy", (H, 41, 64), gaussian(H * 41 * 64))
        self.write_npy("nan.npy", (G, 40, 64), [float("nan")] + [0.0] * (G * 40 * 64 - 1))
        base = ("--k", "k.npy", "--v", "v.npy", "--format", "tq4")
        self.refused(1, r"three\.npy: 3 query heads", "ablate", "--q", "three.npy", *base)
        self.refused(1, r"long\.npy: 41 queries a head", "ablate", "--q", "long.npy", *base, "--causal")
        self.refused(1, r"nan\.npy: value \[0, 0, 0\] .* is NaN", "ablate", "--q", "q.npy", "--k", "nan.npy",
                     "--v", "v.npy", "--format", "tq4")
        self.refused(1, r"k\.npy: .*head_dim", *self.arguments("tq4-v1"))
        self.decode("k", "tq4")
        self.refused(1, r"k\.st", "ablate", "--q", "q.npy", "--k", "k.st", "--v", "v.npy", "--format", "tq4")
        with open("/dev/full", "w", encoding="ascii") as full:
            for options in ((), ("--json",)):
                self.refused(1, "standard output: No space left", *self.arguments("tq4", *options), stdout=full)
                self.refused(1, "standard output: No space left", "ablate", "--self-test", *options, stdout=full)

    def test_help_and_man_page(self):
        self.check_documented("ablate")


main()
