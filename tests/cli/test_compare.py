# SPDX-License-Identifier: MIT
"""The figures of compare, against the definitions."""
import math

from support import CommandTest, gaussian, main, relative_error


def cosine(a, b):
    aa, bb = math.fsum(x * x for x in a), math.fsum(x * x for x in b)
    if aa == 0 or bb == 0:
        return 1.0 if aa == bb else 0.0
    return math.fsum(x * y for x, y in zip(a, b)) / math.sqrt(aa * bb)


class Compare(CommandTest):
    def check(self, n_vectors, head_dim, noise):
        a = gaussian(n_vectors * head_dim, seed=1)
        b = [x + noise * y for x, y in zip(a, gaussian(n_vectors * head_dim, seed=2))]
        self.write_npy("a.npy", (n_vectors, head_dim), a)
        self.write_npy("b.npy", (1, n_vectors, head_dim), b)
        b = self.read_npy("b.npy")[1]
        told = self.json("compare", "a.npy", "b.npy")
        cosines = sorted(cosine(a[i * head_dim:(i + 1) * head_dim], b[i * head_dim:(i + 1) * head_dim])
                         for i in range(n_vectors))
        rank = math.ceil(0.01 * n_vectors)
        self.assertEqual((told["n_values"], told["n_vectors"]), (n_vectors * head_dim, n_vectors))
        self.assertAlmostEqual(told["rel_mse"], relative_error(a, b), places=8)
        self.assertAlmostEqual(told["cosine_mean"], math.fsum(cosines) / n_vectors, places=8)
        self.assertAlmostEqual(told["cosine_p1"], cosines[rank - 1], places=8)
        self.assertAlmostEqual(told["max_abs"], max(abs(x - y) for x, y in zip(a, b)), places=7)

    def test_figures(self):
        # One vector, and counts at which the rank of the percentile changes.
        for n_vectors in (1, 2, 99, 100, 101, 200, 201, 1000):
            with self.subTest(n_vectors=n_vectors):
                self.check(n_vectors, 8, 0.3)
        self.check(3, 1, 0.1)

    def test_the_reference_is_the_first(self):
        self.write_npy("a.npy", (1, 2), [3.0, 4.0])
        self.write_npy("b.npy", (1, 2), [0.0, 4.0])
        self.assertAlmostEqual(self.json("compare", "a.npy", "b.npy")["rel_mse"], 9 / 25)
        self.assertAlmostEqual(self.json("compare", "b.npy", "a.npy")["rel_mse"], 9 / 16)

    def test_equal(self):
        self.write_npy("a.npy", (5, 3), gaussian(15))
        told = self.json("compare", "a.npy", "a.npy")
        self.assertEqual((told["rel_mse"], told["max_abs"]), (0.0, 0.0))
        self.assertAlmostEqual(told["cosine_p1"], 1.0)

    def test_zero_vectors(self):
        self.write_npy("zero.npy", (2, 2), [0.0] * 4)
        self.write_npy("some.npy", (2, 2), [0.0, 0.0, 1.0, 2.0])
        both = self.json("compare", "zero.npy", "zero.npy")
        self.assertEqual((both["rel_mse"], both["cosine_mean"]), (0.0, 1.0))
        one = self.json("compare", "zero.npy", "some.npy")
        self.assertEqual((one["rel_mse"], one["cosine_mean"], one["cosine_p1"]), (None, 0.5, 0.0))
        self.assertIn("inf", self.tqkv("compare", "zero.npy", "some.npy"))
        self.assertEqual(self.json("compare", "some.npy", "zero.npy")["rel_mse"], 1.0)

    def test_scalars(self):
        self.write_npy("a.npy", (), [2.0])
        self.write_npy("b.npy", (), [1.0])
        self.assertEqual(self.json("compare", "a.npy", "b.npy")["rel_mse"], 0.25)


main()
