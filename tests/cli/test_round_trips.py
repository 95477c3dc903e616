# SPDX-License-Identifier: MIT
"""Encode and decode: every format, norm rules, centres, shapes, element types, both domains."""
import math
import struct

from support import (THEORY, V1_FORMATS, V2_FORMATS, CommandTest, gaussian, main, relative_error)


def bits_of(name):
    return int(name[2])


class RoundTrips(CommandTest):
    def check_format(self, name, head_dim, expected_bits, shape=(2, 20)):
        n = shape[0] * shape[1] * head_dim
        values = gaussian(n, seed=head_dim)
        self.write_npy("x.npy", (*shape, head_dim), values)
        result = self.json("encode", "x.npy", "-o", "x.st", "--format", name)
        self.assertAlmostEqual(result["bits_per_value"], expected_bits)
        self.assertAlmostEqual(result["bytes"] * 8 / n, expected_bits)
        self.tqkv("decode", "x.st", "-o", "y.npy")
        got_shape, decoded = self.read_npy("y.npy")
        self.assertEqual(got_shape, (*shape, head_dim))
        error = relative_error(values, decoded)
        self.assertAlmostEqual(result["rel_mse"] / error, 1.0, places=7)
        self.assertAlmostEqual(result["theory_rel_mse"] / THEORY[bits_of(name)], 1.0, places=5)
        # v1's 8-bit table is 1.52 times the optimum by nature; 40 vectors scatter by a few percent.
        nature = 1.523 if name == "tq8-v1" else 1.0
        self.assertAlmostEqual(error / THEORY[bits_of(name)], nature, delta=0.15)

    def test_every_v2_format(self):
        for name in V2_FORMATS:
            for head_dim in (64, 80, 128, 576):
                with self.subTest(name=name, head_dim=head_dim):
                    self.check_format(name, head_dim, bits_of(name) + 16 / head_dim)

    def test_every_v1_format(self):
        for name in V1_FORMATS:
            for head_dim in (256, 512):
                with self.subTest(name=name, head_dim=head_dim):
                    stored = 4 if name == "tq4-v1" else 8
                    self.check_format(name, head_dim, stored + 32 / 256)

    def test_scale_factor_is_kept_and_used(self):
        self.write_npy("x.npy", (3, 7, 512), gaussian(3 * 7 * 512))
        plain = self.json("encode", "x.npy", "-o", "one.st", "--format", "tq6-v1")
        same = self.json("encode", "x.npy", "-o", "same.st", "--format", "tq6-v1", "--scale-factor-d512", "1")
        self.assertEqual(plain, same)
        self.assertEqual(self.read("one.st"), self.read("same.st"))
        # A value of unit variance times 16 lies beyond the codebook: c_max / 16 is all that comes back,
        # an error of 1 - 2 r E|y| + r^2 with r = 3.6996 / 16 and E|y| = sqrt(2 / pi).
        far = self.json("encode", "x.npy", "-o", "far.st", "--format", "tq6-v1", "--scale-factor-d512", "16")
        r = 3.6996161 / 16
        self.assertAlmostEqual(far["rel_mse"], 1 - 2 * r * math.sqrt(2 / math.pi) + r * r, delta=0.02)
        self.assertEqual(self.json("info", "far.st")["metadata"]["tqkv.scale_factor_d512"], "16")

    def test_leading_dimensions_are_flattened(self):
        values = gaussian(2 * 3 * 5 * 32)
        self.write_npy("deep.npy", (2, 3, 5, 32), values)
        self.write_npy("flat.npy", (6, 5, 32), values)
        deep = self.json("encode", "deep.npy", "-o", "deep.st", "--format", "tq4")
        self.assertEqual((deep["n_kv_heads"], deep["n_positions"], deep["head_dim"]), (6, 5, 32))
        self.tqkv("encode", "flat.npy", "-o", "flat.st", "--format", "tq4")
        self.assertEqual(self.read("deep.st"), self.read("flat.st"))
        self.write_npy("single.npy", (30, 32), values)
        self.assertEqual(self.json("encode", "single.npy", "-o", "s.st", "--format", "tq4")["n_kv_heads"], 1)

    def test_half_precision_input(self):
        values = [float(int(v * 64)) / 64 for v in gaussian(4 * 64)]
        self.write_npy("half.npy", (1, 4, 64), values, descr="<f2")
        for version in (1, 2, 3):
            self.write_npy("full.npy", (1, 4, 64), values, version=version)
            self.tqkv("encode", "half.npy", "-o", "half.st", "--format", "tq5")
            self.tqkv("encode", "full.npy", "-o", "full.st", "--format", "tq5")
            self.assertEqual(self.read("half.st"), self.read("full.st"))
        self.assertEqual(self.json("info", "half.npy")["dtype"], "<f2")
        self.assertEqual(self.json("info", "half.npy")["bits_per_value"], 16)
        self.assertEqual(self.json("info", "full.npy")["dtype"], "<f4")

    def test_norm_rules(self):
        values = gaussian(40 * 128)
        self.write_npy("x.npy", (1, 40, 128), values)
        decoded = {}
        for rule in ("plain", "matched", "unbiased"):
            result = self.json("encode", "x.npy", "-o", "x.st", "--format", "tq2", "--norm", rule)
            self.assertEqual(result["norm_rule"], rule)
            self.tqkv("decode", "x.st", "-o", "y.npy")
            decoded[rule] = self.read_npy("y.npy")[1]
        for t in range(40):
            row = slice(t * 128, (t + 1) * 128)
            x, y, z = values[row], decoded["matched"][row], decoded["unbiased"][row]
            xx = math.fsum(v * v for v in x)
            # Norms are rounded to float16, 2^-11 at most, and the first is of a square.
            self.assertAlmostEqual(math.fsum(v * v for v in y) / xx, 1.0, delta=2 * 2 ** -11)
            self.assertAlmostEqual(math.fsum(u * v for u, v in zip(x, z)) / xx, 1.0, delta=2 ** -11)
        self.tqkv("encode", "x.npy", "-o", "default.st", "--format", "tq2")
        self.tqkv("encode", "x.npy", "-o", "matched.st", "--format", "tq2", "--norm", "matched")
        self.assertEqual(self.read("default.st"), self.read("matched.st"))

    def offset_heads(self):
        means = gaussian(2 * 64, seed=5, scale=10.0)
        noise = gaussian(2 * 30 * 64, seed=6)
        return [noise[i] + means[i // (30 * 64) * 64 + i % 64] for i in range(2 * 30 * 64)]

    def test_centre_mean(self):
        values = self.offset_heads()
        self.write_npy("x.npy", (2, 30, 64), values)
        without = self.json("encode", "x.npy", "-o", "a.st", "--format", "tq4")
        centred = self.json("encode", "x.npy", "-o", "b.st", "--format", "tq4", "--center", "mean")
        self.assertEqual((without["centre"], centred["centre"]), (False, True))
        self.assertEqual(centred["bytes"] - without["bytes"], 2 * 64 * 2)
        self.assertEqual([centred[key] for key in ("n_centres", "centre_stretch")], [1, 256])
        self.assertEqual([without[key] for key in ("n_centres", "centre_stretch")], [0, 0])
        # Of a mean square near 101 only 1 is left to quantise.
        self.assertLess(centred["rel_mse"], without["rel_mse"] / 50)
        self.tqkv("decode", "b.st", "-o", "y.npy")
        error = relative_error(self.read_npy("x.npy")[1], self.read_npy("y.npy")[1])
        self.assertAlmostEqual(centred["rel_mse"] / error, 1.0, places=6)

    def test_centre_from_a_file(self):
        values = self.offset_heads()
        self.write_npy("x.npy", (2, 30, 64), values)
        stored = self.read_npy("x.npy")[1]
        means = [math.fsum(stored[(g * 30 + t) * 64 + d] for t in range(30)) / 30
                 for g in range(2) for d in range(64)]
        self.write_npy("m.npy", (2, 64), means)
        self.write_npy("m4.npy", (2, 1, 64), means)
        self.tqkv("encode", "x.npy", "-o", "file.st", "--format", "tq4", "--center", "m.npy")
        self.tqkv("encode", "x.npy", "-o", "deep.st", "--format", "tq4", "--center", "m4.npy")
        self.tqkv("encode", "x.npy", "-o", "mean.st", "--format", "tq4", "--center", "mean")
        self.assertEqual(self.read("file.st"), self.read("deep.st"))
        # The same centre but for the last bit of a sum, before it is rounded.
        for name in ("file", "mean"):
            self.tqkv("decode", f"{name}.st", "-o", f"{name}.npy")
        self.assertLess(self.json("compare", "file.npy", "mean.npy")["rel_mse"], 1e-4)
        self.assertEqual([self.json("info", "file.st")[key] for key in ("n_centres", "centre_stretch")], [1, 0])
        self.write_npy("one.npy", (30, 64), values[:30 * 64])
        self.write_npy("row.npy", (64,), means[:64])
        self.assertTrue(self.json("encode", "one.npy", "-o", "one.st", "--format", "tq4",
                                  "--center", "row.npy")["centre"])

    def drifting_heads(self, positions=30):
        """Two heads whose common part turns round at position 16; in a third there is none."""
        means = gaussian(2 * 64, seed=5, scale=10.0)
        noise = gaussian(3 * positions * 64, seed=6)
        values = list(noise)
        for i in range(2 * positions * 64):
            g, t, d = i // (positions * 64), i // 64 % positions, i % 64
            values[i] += means[g * 64 + d] if t < 16 else -means[g * 64 + d]
        return values

    def encode_stretches(self, *options):
        return self.json("encode", "x.npy", "-o", "x.st", "--format", "tq4", *options)

    def test_a_centre_for_each_stretch(self):
        self.write_npy("x.npy", (3, 30, 64), self.drifting_heads())
        bare = self.encode_stretches()
        for kind in ("mean", "learn"):
            whole = self.encode_stretches("--center", kind, "--center-stretch", "all")
            cut = self.encode_stretches("--center", kind, "--center-stretch", "8")
            self.assertEqual([whole[key] for key in ("n_centres", "centre_stretch")], [1, 0])
            self.assertEqual([cut[key] for key in ("n_centres", "centre_stretch")], [4, 8])
            self.assertEqual(cut["bytes"] - bare["bytes"], 4 * 3 * 64 * 2)
            self.assertLess(cut["rel_mse"], whole["rel_mse"] / 10)
            self.assertEqual(self.encode_stretches("--center", kind)["centre_stretch"], 256)
            self.tqkv("decode", "x.st", "-o", "y.npy")
            told = self.encode_stretches("--center", kind, "--center-stretch", "8")
            self.tqkv("decode", "x.st", "-o", "y.npy")
            error = relative_error(self.read_npy("x.npy")[1], self.read_npy("y.npy")[1])
            self.assertAlmostEqual(told["rel_mse"] / error, 1.0, places=6)

    def centres(self):
        """The float16 numbers of the first tensor in x.st."""
        data = self.read("x.st")
        begin = 8 + int.from_bytes(data[:8], "little")
        n = self.json("info", "x.st")["centre_bytes"] // 2
        return struct.unpack_from(f"<{n}e", data, begin)

    def test_which_mean_a_centre_is(self):
        """Of all positions kept of a stretch, or of its first 64, kept or not; no common part, no centre."""
        values = self.drifting_heads(200)
        self.write_npy("x.npy", (3, 200, 64), values)

        def mean(g, first, end):
            return [math.fsum(values[(g * 200 + t) * 64 + d] for t in range(first, end)) / (end - first)
                    for d in range(64)]

        ring = ("--capacity", "150", "--ring")  # positions 50 on are kept
        for kind, stretch, options, spans in (
                ("mean", "100", (), [(0, 100), (100, 200)]), ("mean", "all", (), [(0, 200)]),
                ("mean", "100", ring, [(50, 100), (100, 200)]), ("mean", "all", ring, [(50, 200)]),
                ("learn", "100", (), [(0, 64), (100, 164)]), ("learn", "all", (), [(0, 64)]),
                ("learn", "100", ring, [(0, 64), (100, 164)]), ("learn", "8", ring, None),
                ("learn", "150", (), [(0, 64), (150, 200)])):
            with self.subTest(kind=kind, stretch=stretch, options=options):
                told = self.encode_stretches("--center", kind, "--center-stretch", stretch, *options)
                if spans is None:  # stretches 6 to 24 of 8; a ring of 19 centres, number 0 that of stretch 19
                    self.assertEqual(told["n_centres"], 19)
                    spans = [(8 * s, 8 * s + 8) for s in (*range(19, 25), *range(6, 19))]
                got = self.centres()
                self.assertEqual(len(got), len(spans) * 3 * 64)
                for i, (first, end) in enumerate(spans):
                    for g in range(3):
                        row, want = got[(i * 3 + g) * 64:(i * 3 + g + 1) * 64], mean(g, first, end)
                        rows = [values[(g * 200 + t) * 64:(g * 200 + t + 1) * 64] for t in range(first, end)]
                        square = math.fsum(x * x for r in rows for x in r) / (end - first)
                        if kind == "learn" and math.fsum(x * x for x in want) < 0.5 * square:
                            want = [0.0] * 64
                        for x, y in zip(row, want):
                            self.assertAlmostEqual(x, y, delta=2 ** -11 * abs(y) + 1e-6)
                self.tqkv("decode", "x.st", "-o", "y.npy")
                held = self.read_npy("y.npy")
                first = self.json("info", "x.st")["metadata"].get("tqkv.first_position")
                self.assertEqual(first, None if stretch == "all" else str(200 - held[0][1]))
                kept = [x for g in range(3) for x in values[(g * 200 + 200 - held[0][1]) * 64:(g + 1) * 200 * 64]]
                self.assertAlmostEqual(told["rel_mse"] / relative_error(kept, held[1]), 1.0, delta=1e-4)

    def test_rotated_keeps_inner_products(self):
        self.write_npy("x.npy", (2, 30, 64), self.offset_heads())
        for centre in ([], ["--center", "mean"], ["--center", "learn", "--center-stretch", "7"]):
            self.tqkv("encode", "x.npy", "-o", "x.st", "--format", "tq3", *centre)
            self.tqkv("decode", "x.st", "-o", "plain.npy")
            self.tqkv("decode", "x.st", "-o", "rotated.npy", "--rotated")
            plain, rotated = self.read_npy("plain.npy"), self.read_npy("rotated.npy")
            self.assertEqual(plain[0], rotated[0])
            self.assertGreater(relative_error(plain[1], rotated[1]), 0.5)
            rows = [[v[1][i * 64:(i + 1) * 64] for i in (0, 7, 29, 30, 59)] for v in (plain, rotated)]
            for i in range(5):
                for j in range(5):
                    a, b = (math.fsum(p * q for p, q in zip(r[i], r[j])) for r in rows)
                    scale = math.fsum(p * p for p in rows[0][i])
                    self.assertAlmostEqual(a / scale, b / scale, places=4)

    def test_the_same_input_gives_the_same_bytes(self):
        self.write_npy("x.npy", (2, 30, 64), self.offset_heads())
        for name in ("a.st", "b.st"):
            self.tqkv("encode", "x.npy", "-o", name, "--format", "tq5", "--center", "mean")
        self.assertEqual(self.read("a.st"), self.read("b.st"))

    def test_large_input_is_cut_into_pieces_invisibly(self):
        # More than one piece of 2^18 values; each vector must come out as when encoded alone.
        values = gaussian(3 * 2000 * 64)
        self.write_npy("x.npy", (3, 2000, 64), values)
        self.tqkv("encode", "x.npy", "-o", "x.st", "--format", "tq2")
        self.tqkv("decode", "x.st", "-o", "y.npy")
        decoded = self.read_npy("y.npy")[1]
        for g, t in ((0, 0), (0, 1999), (1, 1365), (1, 1366), (2, 1999)):
            row = slice((g * 2000 + t) * 64, (g * 2000 + t + 1) * 64)
            self.write_npy("row.npy", (1, 64), values[row])
            self.tqkv("encode", "row.npy", "-o", "row.st", "--format", "tq2")
            self.tqkv("decode", "row.st", "-o", "row.npy")
            self.assertEqual(self.read_npy("row.npy")[1], decoded[row])


main()
