# SPDX-License-Identifier: MIT
"""Capacities and rings: unused slots, wraps, the order that decode gives back."""
import json
import struct

from support import CommandTest, gaussian, main

D = 32


def codes_of(data):
    """The bytes of tensor `codes`, read without the library."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    begin, end = header["codes"]["data_offsets"]
    return header["codes"]["shape"], data[8 + length + begin:8 + length + end]


class Rings(CommandTest):
    def heads(self, n_positions):
        rows = [gaussian(n_positions * D, seed=g) for g in range(2)]
        self.write_npy("x.npy", (2, n_positions, D), list(rows[0]) + list(rows[1]))
        return rows

    def check_ring(self, n_positions, capacity, extra=()):
        rows = self.heads(n_positions)
        result = self.json("encode", "x.npy", "-o", "ring.st", "--format", "tq4", "--capacity",
                           str(capacity), "--ring", *extra)
        kept = min(n_positions, capacity)
        start = n_positions % capacity if n_positions > capacity else 0
        self.assertEqual((result["n_positions"], result["capacity"], result["ring_start"]),
                         (kept, capacity, start))
        # Vectors are encoded one by one: the last ones alone give the same file contents, unrolled.
        last = [v for row in rows for v in row[(n_positions - kept) * D:]]
        self.write_npy("last.npy", (2, kept, D), last)
        plain = self.json("encode", "last.npy", "-o", "last.st", "--format", "tq4", *extra)
        self.assertEqual(plain["rel_mse"], result["rel_mse"])
        for domain in ([], ["--rotated"]):
            self.tqkv("decode", "ring.st", "-o", "ring.npy", *domain)
            self.tqkv("decode", "last.st", "-o", "last-decoded.npy", *domain)
            self.assertEqual(self.read_npy("ring.npy")[0], (2, kept, D))
            self.assertEqual(self.read("ring.npy"), self.read("last-decoded.npy"))
        self.check_slots(n_positions, capacity, kept)
        unused = capacity / kept
        self.assertAlmostEqual(result["bits_per_value"], (4 + 16 / D) * unused + (16 / kept if extra else 0))

    def check_slots(self, n_positions, capacity, kept):
        """Position t lies in slot t % C, and slots never written are zero."""
        row = D // 2
        shape, ring = codes_of(self.read("ring.st"))
        _, flat = codes_of(self.read("last.st"))
        self.assertEqual(shape, [2, capacity, row])
        for g in range(2):
            seen = set()
            for i in range(kept):
                slot = (n_positions - kept + i) % capacity
                seen.add(slot)
                self.assertEqual(ring[(g * capacity + slot) * row:][:row], flat[(g * kept + i) * row:][:row])
            for slot in set(range(capacity)) - seen:
                self.assertEqual(ring[(g * capacity + slot) * row:][:row], bytes(row))

    def test_rings(self):
        # Not full, just full, one over, wrapped less and more than once, to a multiple, down to one slot.
        for n_positions, capacity in ((5, 9), (9, 9), (10, 9), (17, 9), (40, 9), (36, 9), (7, 1), (1, 1)):
            with self.subTest(n_positions=n_positions, capacity=capacity):
                self.check_ring(n_positions, capacity)

    def test_ring_with_the_mean_of_what_is_kept(self):
        self.check_ring(23, 7, ("--center", "mean"))
        self.check_ring(5, 7, ("--center", "mean"))

    def test_ring_of_two_norm_vectors(self):
        values = gaussian(11 * 512)
        self.write_npy("x.npy", (11, 512), values)
        self.tqkv("encode", "x.npy", "-o", "ring.st", "--format", "tq8-v1", "--capacity", "4", "--ring")
        self.write_npy("last.npy", (4, 512), values[7 * 512:])
        self.tqkv("encode", "last.npy", "-o", "last.st", "--format", "tq8-v1")
        for name in ("ring", "last"):
            self.tqkv("decode", f"{name}.st", "-o", f"{name}.out")
        self.assertEqual(self.read("ring.out"), self.read("last.out"))

    def test_capacity_without_ring(self):
        self.heads(6)
        result = self.json("encode", "x.npy", "-o", "x.st", "--format", "tq4", "--capacity", "8")
        self.assertEqual((result["n_positions"], result["capacity"], result["ring_start"]), (6, 8, 0))
        self.assertAlmostEqual(result["bits_per_value"], (4 + 16 / D) * 8 / 6)
        self.refused(1, r"x\.npy: 6 positions .*--capacity 5.*--ring", "encode", "x.npy", "-o", "y.st",
                     "--format", "tq4", "--capacity", "5")

    def test_info_tells_the_ring(self):
        self.heads(23)
        told = self.json("encode", "x.npy", "-o", "x.st", "--format", "tq4", "--capacity", "7", "--ring")
        info = self.json("info", "x.st")
        for key in ("format", "n_kv_heads", "n_positions", "capacity", "ring_start", "bytes", "bits_per_value"):
            self.assertEqual(info[key], told[key], key)


main()
