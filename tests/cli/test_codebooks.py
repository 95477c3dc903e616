# SPDX-License-Identifier: MIT
"""Codebooks as printed, their distortion, and requantize, against models written here."""
import bisect
import math

from support import THEORY, CommandTest, gaussian, main


def density(x):
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def distortion(centroids, boundaries, steps=64):
    """Simpson's rule inside each cell, so nothing in common with closed forms."""
    edges = [-12.0, *boundaries, 12.0]
    total = 0.0
    for c, a, b in zip(centroids, edges, edges[1:]):
        n = steps * max(1, math.ceil(4 * (b - a)))
        h = (b - a) / n
        for i in range(n + 1):
            weight = 1 if i in (0, n) else 4 if i % 2 else 2
            x = a + i * h
            total += weight * h / 3 * (x - c) ** 2 * density(x)
    return total


class Codebooks(CommandTest):
    def books(self):
        for bits in range(2, 9):
            yield "v2", bits
        for bits in (4, 5, 6, 8):
            yield "v1", bits

    def test_tables(self):
        for version, bits in self.books():
            with self.subTest(version=version, bits=bits):
                book = self.json("codebook", "--bits", str(bits), "--codebook", version)
                self.assertEqual((book["codebook"], book["bits"]), (version, bits))
                c, b = book["centroids"], book["boundaries"]
                self.assertEqual((len(c), len(b)), (2 ** bits, 2 ** bits - 1))
                for i, bound in enumerate(b):
                    self.assertTrue(c[i] < bound < c[i + 1])
                self.assertEqual(c, [-x for x in reversed(c)])
                self.assertAlmostEqual(book["optimal_distortion"] / THEORY[bits], 1.0, places=5)
                self.assertAlmostEqual(book["distortion"] / distortion(c, b), 1.0, places=6)
                ratio = book["distortion"] / book["optimal_distortion"]
                self.assertAlmostEqual(book["excess"], ratio - 1, places=7)

    def test_distance_from_the_optimum(self):
        for bits in range(2, 9):
            excess = self.json("codebook", "--bits", str(bits))["excess"]
            # No table can be better; rounding the centroids to float32 costs less than 1e-9.
            self.assertGreater(excess, -1e-12)
            self.assertLess(excess, 1e-9)
        self.assertAlmostEqual(self.json("codebook", "--bits", "8", "--codebook", "v1")["excess"], 0.523,
                               delta=0.001)
        self.assertAlmostEqual(self.json("codebook", "--bits", "6", "--codebook", "v1")["excess"], 0.0068,
                               delta=0.0002)
        self.assertLess(self.json("codebook", "--bits", "4", "--codebook", "v1")["excess"], 1e-6)

    def test_v2_is_the_default(self):
        self.assertEqual(self.json("codebook", "--bits", "8"),
                         self.json("codebook", "--bits", "8", "--codebook", "v2"))
        self.assertNotEqual(self.json("codebook", "--bits", "8"),
                            self.json("codebook", "--bits", "8", "--codebook", "v1"))

    def test_requantize(self):
        values = list(gaussian(700)) + [0.0, 1e-40, -1e-40, 3e38, -3e38]
        self.write_npy("x.npy", (3, 5, 47), values)
        stored = self.read_npy("x.npy")[1]
        for version, bits in self.books():
            with self.subTest(version=version, bits=bits):
                book = self.json("codebook", "--bits", str(bits), "--codebook", version)
                options = ["--bits", str(bits), "--codebook", version]
                self.tqkv("requantize", "x.npy", "-o", "y.npy", *options)
                shape, snapped = self.read_npy("y.npy")
                self.assertEqual(shape, (3, 5, 47))
                for x, y in zip(stored, snapped):
                    wanted = book["centroids"][bisect.bisect_left(book["boundaries"], x)]
                    if x == 0.0 and version == "v2":
                        wanted = -wanted  # equality stays below in v1; in v2 zero counts as positive
                    self.assertAlmostEqual(y, wanted, delta=1e-6)
                # Centroids stay where they are.
                self.tqkv("requantize", "y.npy", "-o", "z.npy", *options)
                self.assertEqual(self.read("y.npy"), self.read("z.npy"))

    def test_requantize_takes_any_shape(self):
        for shape, n in (((), 1), ((0,), 0), ((7,), 7), ((2, 0, 3), 0)):
            self.write_npy("x.npy", shape, [0.5] * n)
            self.tqkv("requantize", "x.npy", "-o", "y.npy", "--bits", "3")
            self.assertEqual(self.read_npy("y.npy")[0], shape)


main()
