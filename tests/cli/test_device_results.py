# SPDX-License-Identifier: MIT
"""A CUDA device's results against the CPU's: the same bytes from the codec, attention within its bound. Skipped
where there is no device."""
import json
import math
import os
import subprocess
import sys

from attention import attend, heads, visible
from support import TQKV, V1_FORMATS, V2_FORMATS, CommandTest, gaussian, main

H, G = 4, 2


def find_device():
    """The first that the library serves, as `kernels` tells it; or why there is none."""
    told = json.loads(subprocess.run([TQKV, "kernels", "--json"], stdout=subprocess.PIPE, check=True).stdout)
    if told["devices"] is None:
        return None, "this build has no CUDA"
    served = [device for device in told["devices"] if device["served"]]
    return (served[0], None) if served else (None, f"no CUDA device: {told['devices']}")


class Codec(CommandTest):
    def encode(self, *options, source="x.npy"):
        """On both; the same file and the same words."""
        told = [self.tqkv("encode", source, "-o", f"{name}.st", *options, "--device", device)
                for name, device in (("cpu", "cpu"), ("cuda", DEVICE["device"]))]
        self.assertEqual(told[0], told[1])
        self.assertEqual(self.read("cpu.st"), self.read("cuda.st"), options)

    def decode(self, *options):
        for name, device in (("cpu", "cpu"), ("cuda", DEVICE["device"])):
            self.assertEqual(self.tqkv("decode", "cpu.st", "-o", f"{name}.npy", *options, "--device", device), "")
        self.assertEqual(self.read("cpu.npy"), self.read("cuda.npy"), options)

    def both(self, *options):
        self.encode(*options)
        self.decode()
        self.decode("--rotated")

    def test_formats(self):
        for i, name in enumerate(V2_FORMATS):
            dim = (64, 128, 256, 96, 32, 576, 1024)[i]
            with self.subTest(format=name, dim=dim):
                self.write_npy("x.npy", (3, 17, dim), gaussian(3 * 17 * dim, seed=i))
                self.both("--format", name, "--norm", ("plain", "matched", "unbiased")[i % 3])
        for i, name in enumerate(V1_FORMATS):
            dim = 256 if i % 2 == 0 else 512
            with self.subTest(format=name, dim=dim):
                self.write_npy("x.npy", (2, 9, dim), gaussian(2 * 9 * dim, seed=i))
                self.both("--format", name, *(("--scale-factor-d512", "1.5") if dim == 512 else ()))

    def test_rings_and_centres(self):
        """Rings that wrapped, more than once too, and are not full; centres for all and for stretches."""
        offset = gaussian(64, seed=8, scale=4.0)
        values = [x + offset[i % 64] for i, x in enumerate(gaussian(3 * 50 * 64, seed=7))]
        self.write_npy("x.npy", (3, 50, 64), values)
        self.write_npy("c.npy", (3, 64), [*offset, *offset, *offset])
        for ring in ((), ("--capacity", "60"), ("--capacity", "37", "--ring"), ("--capacity", "11", "--ring")):
            for centre in ((), ("--center", "c.npy"), ("--center", "mean", "--center-stretch", "8"),
                           ("--center", "learn", "--center-stretch", "13")):
                with self.subTest(ring=ring, centre=centre):
                    self.encode("--format", "tq4", *ring, *centre)
                    self.decode(*(("--rotated",) if "mean" in centre else ()))

    def test_many_vectors(self):
        """More than a piece of the CPU's; leading dimensions; one position."""
        self.write_npy("x.npy", (2, 3, 800, 64), gaussian(6 * 800 * 64))
        self.both("--format", "tq3")
        self.write_npy("x.npy", (1, 128), gaussian(128))
        self.both("--format", "tq8")

    def test_odd_vectors(self):
        """Zeros, tiny ones and large ones."""
        values = [s * x for s in (0.0, 1e-30, 1e-6, 1.0, 5000.0) for x in gaussian(64)]
        self.write_npy("x.npy", (5, 64), values)
        self.both("--format", "tq6")

    def test_a_norm_too_large(self):
        values = gaussian(3 * 20 * 64)
        for vector in (27, 46):
            values[vector * 64:(vector + 1) * 64] = gaussian(64, scale=60000.0)
        self.write_npy("x.npy", (3, 20, 64), [max(-65000.0, min(65000.0, x)) for x in values])
        for ring in ((), ("--capacity", "15", "--ring")):
            said = [self.refused(1, r"x\.npy: vector \[1, 7\] of \[heads, positions\] has a norm above", "encode",
                                 "x.npy", "-o", "new", "--format", "tq4", "--device", device, *ring).stderr
                    for device in ("cpu", DEVICE["device"])]
            self.assertEqual(said[0], said[1])

    def test_no_such_device(self):
        self.write_npy("x.npy", (1, 2, 64), gaussian(128))
        self.refused(1, r"--device cuda:9999: device 9999: CUDA has \d+, numbered from 0", "encode", "x.npy", "-o", "new",
                     "--format", "tq4", "--device", "cuda:9999")

    def test_kernels_lists_it(self):
        text = self.tqkv("kernels")
        self.assert_fits_80_columns(text)
        rows = text.split("\n\n")[2].splitlines()
        self.assertEqual(rows[0].split(), ["device", "name", "capability", "GiB", "served"])
        self.assertTrue(rows[1].startswith("cuda:0 "), rows)
        self.assertIn(DEVICE["capability"], text)
        self.assertIn(DEVICE["name"][:30], text)
        self.assertGreater(DEVICE["memory_bytes"], 2 ** 30)


class Attend(CommandTest):
    def make(self, dim, positions, queries, k_options, v_options, k_offset=0.0, v_offset=0.0):
        self.dim = dim
        shift = gaussian(dim, seed=9)
        for name, count, rows, seed, offset in (("q", H, queries, 1, 0.0), ("k", G, positions, 2, k_offset),
                                                ("v", G, positions, 3, v_offset)):
            values = gaussian(count * rows * dim, seed=seed)
            self.write_npy(f"{name}.npy", (count, rows, dim),
                           [x + offset * shift[i % dim] for i, x in enumerate(values)])
        for name, options in (("k", k_options), ("v", v_options)):
            self.tqkv("encode", f"{name}.npy", "-o", f"{name}.st", *options)
            self.tqkv("decode", f"{name}.st", "-o", f"{name}-decoded.npy")

    def check(self, accuracy, *options, centred=False, **mask):
        q, k, v = (heads(*self.read_npy(name)) for name in ("q.npy", "k-decoded.npy", "v-decoded.npy"))
        want, want_lse, weights = attend(q, k, v, **mask)
        told = self.tqkv("attend", "--q", "q.npy", "--k", "k.st", "--v", "v.st", "-o", "o.npy", "--lse", "l.npy",
                         *options, "--device", DEVICE["device"], "--accuracy", accuracy)
        self.assertEqual(told, f"# {DEVICE['device']}, {DEVICE['name']}: accuracy {accuracy}\n")
        shape, out = self.read_npy("o.npy")
        lse_shape, lse = self.read_npy("l.npy")
        n, dim, positions = len(q[0]), self.dim, len(k[0])
        self.assertEqual((shape, lse_shape), ((H, n, dim), (H, n)))
        worst = 0.0
        for r, (row, log, weight) in enumerate(zip(want, want_lse, weights)):
            h, i = divmod(r, n)
            keys, values = k[h * G // H], v[h * G // H]
            seen = [t for t in range(positions)
                    if visible(positions - n + i, t, mask.get("causal", False), mask.get("window"))]
            longest = max(math.hypot(*keys[t]) for t in seen) * (3.0 if centred else 1.0)
            size = mask.get("scale", dim ** -0.5) * math.hypot(*q[h][i]) * longest
            if accuracy == "exact":
                e = 2 ** -24 * (min(len(seen), 512) + len(seen) / 16 + 16 + (dim / 16 + 24) * size)
                bound, lse_bound = 2 * e, e + 2 ** -24 * abs(log)
            else:
                bound = 2 ** -9 + 2 ** -9 * size
                lse_bound = 2 ** -9 * size + 2 ** -20 + 2 ** -22 * abs(log)
            terms = math.fsum(w * math.hypot(*x) for w, x in zip(weight, values))
            error = math.dist(row, out[r * dim:(r + 1) * dim])
            self.assertLessEqual(error, bound * terms + 2 ** -22 * math.hypot(*row), (options, r))
            self.assertLessEqual(abs(lse[r] - log), lse_bound, (options, r))
            worst = max(worst, error / terms)
        # What is to be expected, far below what is promised.
        self.assertLess(worst, 1e-5 if accuracy == "exact" else 3e-3, options)

    def both(self, *options, **how):
        for accuracy in ("fast", "exact"):
            self.check(accuracy, *options, **how)

    def test_formats(self):
        for dim, k_format, v_format in ((128, "tq4", "tq4"), (64, "tq6", "tq4"), (256, "tq8", "tq8"),
                                        (96, "tq2", "tq7"), (48, "tq3", "tq5"), (256, "tq4-v1", "tq4-v1"),
                                        (512, "tq8-v1", "tq5")):
            with self.subTest(dim=dim, k=k_format, v=v_format):
                self.make(dim, 77, 1, ("--format", k_format), ("--format", v_format))
                self.both("--causal", causal=True)

    def test_masks_and_scores(self):
        self.make(128, 150, 3, ("--format", "tq4"), ("--format", "tq4"))
        self.both()
        self.both("--scale", "0.2", "--causal", scale=0.2, causal=True)
        self.both("--causal", "--window", "40", causal=True, window=40)
        self.both("--softcap", "2", "--causal", softcap=2.0, causal=True)

    def test_rings(self):
        """Of different sizes, oldest first wherever they begin."""
        self.make(64, 90, 2, ("--format", "tq4", "--capacity", "37", "--ring"),
                  ("--format", "tq6", "--capacity", "37", "--ring"))
        self.both("--causal", causal=True)
        self.both("--causal", "--window", "5", causal=True, window=5)

    def test_centres(self):
        """One of keys, several of keys from within a stretch on, one of values."""
        for k_options, v_options in (
                (("--center", "mean", "--center-stretch", "all"), ()),
                (("--center", "mean", "--center-stretch", "16"), ()),
                (("--center", "mean", "--center-stretch", "16", "--capacity", "37", "--ring"),
                 ("--capacity", "37", "--ring")),
                (("--center", "learn", "--center-stretch", "7", "--capacity", "48", "--ring"),
                 ("--capacity", "48", "--ring")),
                ((), ("--center", "mean", "--center-stretch", "all")),
                (("--center", "mean"), ("--center", "mean"))):
            with self.subTest(k=k_options, v=v_options):
                self.make(64, 90, 2, ("--format", "tq6", *k_options), ("--format", "tq4", *v_options),
                          k_offset=1.0 if k_options else 0.0, v_offset=2.0 if v_options else 0.0)
                self.both("--causal", causal=True, centred=True)

    def test_more_queries_than_positions(self):
        """Without a mask they stand nowhere."""
        self.make(64, 3, 8, ("--format", "tq4"), ("--format", "tq4"))
        self.both()

    def test_what_a_device_does_not_do(self):
        self.make(64, 40, 1, ("--format", "tq4"), ("--format", "tq4", "--center", "mean", "--center-stretch", "8"))
        common = ("attend", "--q", "q.npy", "-o", "new", "--device", DEVICE["device"])
        self.refused(2, r"--device cuda: k\.npy is not encoded; a device attends to codes alone", *common, "--k",
                     "k.npy", "--v", "k.st")
        self.refused(2, r"--device cuda: v\.npy is not encoded", *common, "--k", "k.st", "--v", "v.npy")
        self.refused(2, r"--device cuda: v\.st: values with centres of stretches", *common, "--k", "k.st", "--v",
                     "v.st")


class Ablate(CommandTest):
    """The device's decoder and attention hold what they promise, and what is broken on purpose is named."""
    DEFAULT = "tq6/tq4+centre+recent+sinks"

    def make(self, dim, n=5, positions=150, offset=0.0):
        shift = [offset * x for x in gaussian(dim, 9)]
        for name, count, rows, seed in (("q", H, n, 1), ("k", G, positions, 2), ("v", G, positions, 3)):
            values = gaussian(count * rows * dim, seed)
            if name == "k":
                values = [x + shift[i % dim] for i, x in enumerate(values)]
            self.write_npy(f"{name}.npy", (count, rows, dim), values)

    def arguments(self, name, accuracy, *options):
        return ("ablate", "--q", "q.npy", "--k", "k.npy", "--v", "v.npy", "--format", name, "--device",
                DEVICE["device"], "--accuracy", accuracy, *options)

    def ablate(self, name, accuracy, *options):
        told = self.json(*self.arguments(name, accuracy, *options))
        self.assertEqual((told["device"], told["accuracy"]), (f"{DEVICE['device']}, {DEVICE['name']}", accuracy))
        told["rows"] = {row["path"]: row for row in told["rows"]}
        return told

    def check(self, name, *options):
        for accuracy, worst in (("fast", 3e-3), ("exact", 1e-5)):
            told = self.ablate(name, accuracy, *options)
            self.assertIsNone(told["error"], told["verdict"])
            self.assertLess(told["rows"]["fused"]["worst"], worst, (name, accuracy, options))
            self.assertLess(told["rows"]["decoded"]["worst"], 2e-6)
            self.assertGreater(told["bound"], 2 ** -9 if accuracy == "fast" else 0.0)

    def test_formats(self):
        for dim, name in ((128, "tq4"), (64, "tq6/tq4"), (96, "tq3/tq5"), (256, "tq4-v1"), (512, "tq8-v1")):
            with self.subTest(dim=dim, name=name):
                self.make(dim, positions=60)
                self.check(name, "--causal")

    def test_masks_and_rings(self):
        """With a window through a ring that has wrapped; without a mask also more queries than positions."""
        self.make(64, positions=90)
        for options in ((), ("--causal", "--window", "40"), ("--window", "40"), ("--causal", "--softcap", "2"),
                        ("--causal", "--window", "1"), ("--causal", "--window", "1000"), ("--scale", "0.3")):
            with self.subTest(options=options):
                self.check("tq4", *options)
        self.make(64, n=20, positions=7)
        self.check("tq4")

    def test_caches_of_any_configuration(self):
        """Sinks, centres, codes and recent positions in one call, another cache for each query."""
        self.make(64, n=40, positions=400, offset=2.0)
        for name in ("default", self.DEFAULT, "tq4+centre=100", "tq3/tq5+sinks=7", "tq5+recent=33",
                     "tq4+centre=all+sinks=2"):
            with self.subTest(name=name):
                self.check(name, "--causal")
        for options in (("--causal", "--window", "90"), ("--window", "90"), (), ("--softcap", "2", "--causal")):
            with self.subTest(options=options):
                self.check("tq4+centre+recent=20+sinks=2", *options)
        self.make(64, n=9, positions=5)
        self.check("tq4+sinks=3")

    def test_faults_are_named(self):
        self.make(64)
        for accuracy in ("fast", "exact"):
            for options in ((), ("--causal", "--window", "40")):
                for fault, cause in (("scale", "scale"), ("ring", "order"), ("signs", "signs")):
                    error = self.ablate("tq4", accuracy, "--fault", fault, *options)["error"]
                    self.assertEqual((error["path"], error["stage"], error["cause"]), ("fused", "keys", cause))
            self.make(64, n=20, positions=300, offset=3.0)
            told = self.ablate(self.DEFAULT, accuracy, "--causal", "--fault", "centre")
            self.assertEqual([told["error"][key] for key in ("path", "stage", "cause", "first")],
                             ["fused", "keys", "centre", 1])
            self.assertLess(told["rows"]["decoded"]["worst"], 2e-6)
            self.make(64)

    def test_self_test(self):
        for accuracy in ("fast", "exact"):
            told = self.json("ablate", "--self-test", "--device", DEVICE["device"], "--accuracy", accuracy)
            self.assertIs(told["passed"], True, told)
            self.assertEqual((told["device"], told["accuracy"]), (f"{DEVICE['device']}, {DEVICE['name']}", accuracy))

    def test_text(self):
        self.make(64, positions=40)
        line = f"# {DEVICE['device']}, {DEVICE['name']}: decodes, and attends to codes, accuracy exact; the rest"
        for text in (self.tqkv(*self.arguments("tq4", "exact")),
                     self.tqkv(*self.arguments("tq4,tq6+sinks", "exact")),
                     self.tqkv("ablate", "--self-test", "--device", DEVICE["device"], "--accuracy", "exact")):
            self.assert_fits_80_columns(text)
            self.assertIn(line, " ".join(text.split()))

    def test_formats_side_by_side(self):
        self.make(64, n=30)
        names = ["default", "tq4"]
        told = self.json(*self.arguments(",".join(names), "fast", "--causal"))
        self.assertEqual([told["device"], told["accuracy"]], [f"{DEVICE['device']}, {DEVICE['name']}", "fast"])
        for one in told["formats"]:
            alone = self.ablate(one["name"], "fast", "--causal")
            rows = [row for row in alone["rows"].values() if row["path"] in ("decoded", "fused")]
            self.assertEqual((one["rows"], one["bits_per_value"]), (rows, alone["bits_per_value"]))


class Bench(CommandTest):
    """Every row is checked against the CPU before it is told; what it tells hangs together."""
    def rows(self, *options):
        told = self.tqkv("bench", "--device", DEVICE["device"], "--json", "--samples", "3", *options)
        rows = [json.loads(line) for line in told.splitlines()]
        for row in rows:
            self.assertEqual((row["device"], row["samples"]), (f"{DEVICE['device']}, {DEVICE['name']}", 3))
            self.assertGreater(row["us"], 0)
            self.assertAlmostEqual(row["gb_per_s"] / (1e-3 * row["bytes"] / row["us"]), 1, places=3)
            self.assertAlmostEqual(row["share"] / (row["gb_per_s"] / row["copy_gb_per_s"]), 1, places=3)
            self.assertGreaterEqual(row["launches"], 1)
        return rows

    def test_rows(self):
        rows = self.rows("--dim", "64", "--positions", "400", "--kv-heads", "2")
        self.assertEqual([(row["op"], row["name"]) for row in rows],
                         [(op, name) for op in ("encode", "decode") for name in ("tq4", "tq6", "tq8")] +
                         [("attend", name) for name in ("default", "tq4", "tq8/tq4", "tq8")])
        for row in rows:
            shape = [row[key] for key in ("kv_heads", "dim", "positions")]
            self.assertEqual(shape, [2, 64, 400])
        encode, decode, attend = rows[0], rows[3], rows[7]
        self.assertEqual(encode["bytes"], 800 * (4 * 64 + 32 + 2))
        self.assertEqual([row["domain"] for row in (encode, decode, attend)], [None, "rotated", None])
        self.assertEqual([row["accuracy"] for row in (encode, decode, attend)], [None, None, "fast"])
        self.assertEqual((attend["bytes"], attend["f16_bytes"]), (800 * 2 * 34, 800 * 4 * 64))
        self.assertEqual([row["over_f16"] for row in (encode, decode)], [None, None])
        self.assertAlmostEqual(attend["over_f16"] / (attend["share"] * attend["f16_bytes"] / attend["bytes"]), 1,
                               places=3)
        # A sink, 64 recent positions, and the others' codes.
        self.assertEqual(rows[6]["bytes"], 2 * (335 * (48 + 32 + 4) + 65 * 4 * 64))
        self.assertLess(max(row["error"] for row in rows[6:]), 3e-3)
        self.assertGreater(attend["sets"], 1)

    def test_options(self):
        (row,) = self.rows("--op", "attend", "--format", "tq8", "--v-format", "tq4", "--heads", "4", "--kv-heads", "2",
                           "--dim", "64", "--positions", "90", "--queries", "3", "--accuracy", "exact")
        self.assertEqual([row[key] for key in ("name", "heads", "kv_heads", "queries", "accuracy")],
                         ["tq8/tq4", 4, 2, 3, "exact"])
        self.assertLess(row["error"], 1e-5)
        (row,) = self.rows("--op", "decode", "--format", "tq4-v1", "--dim", "256", "--positions", "50", "--domain",
                           "original")
        self.assertEqual([row[key] for key in ("name", "dim", "domain", "kv_heads")], ["tq4-v1", 256, "original", 8])
        text = self.tqkv("bench", "--device", DEVICE["device"], "--op", "attend", "--dim", "64", "--positions", "90",
                         "--samples", "1")
        self.assert_fits_80_columns(text)
        self.assertRegex(text, r"(?m)^attend +default +16/8 +64 +90 ")
        self.assertIn(f"on {DEVICE['device']}, ", text)


os.environ.pop("TQKV_ISA", None)
DEVICE, WHY = find_device()
if DEVICE is None:
    print("nothing was checked:", WHY)
    sys.exit(77)
main()
