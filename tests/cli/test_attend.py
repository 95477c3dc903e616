# SPDX-License-Identifier: MIT
"""tqkv attend against float64: masks, scales, rings, centres, both paths, splits; and what it refuses."""
import array
import os
import resource
import signal
import struct

from attention import attend, attend_cache, heads
from support import CommandTest, gaussian, main

H, G, N, T = 4, 2, 3, 21
BOUND = 4e-6  # of a row, relative to its length; the library promises 2e-6 of the absolute terms


class Attend(CommandTest):
    def setUp(self):
        super().setUp()
        self.make(64)

    def make(self, dim, n=N, offset=0.0):
        """q.npy, k.npy, v.npy; a constant is added to each channel so that a centre matters."""
        self.dim = dim
        shift = [offset * x for x in gaussian(dim, seed=9)]
        for name, count, rows, seed in (("q", H, n, 1), ("k", G, T, 2), ("v", G, T, 3)):
            values = gaussian(count * rows * dim, seed=seed)
            if name != "q":
                values = array.array("f", (x + shift[i % dim] for i, x in enumerate(values)))
            self.write_npy(f"{name}.npy", (count, rows, dim), values)

    def tensor(self, name):
        return heads(*self.read_npy(name))

    def encode(self, name, *options):
        self.tqkv("encode", f"{name}.npy", "-o", f"{name}.st", *options)
        self.tqkv("decode", f"{name}.st", "-o", f"{name}-decoded.npy")

    def attend(self, *options, k="k.npy", v="v.npy"):
        out = self.tqkv("attend", "--q", "q.npy", "--k", k, "--v", v, "-o", "o.npy", "--lse", "l.npy",
                        *options)
        self.assertEqual(out, "")

    def check(self, *options, k="k.npy", v="v.npy", k_held="k.npy", v_held="v.npy", **mask):
        self.attend(*options, *(() if "decoded" in options else ("--arithmetic", "float")), k=k, v=v)
        q = self.tensor("q.npy")
        want, want_lse, _ = attend(q, self.tensor(k_held), self.tensor(v_held), **mask)
        shape, out = self.read_npy("o.npy")
        lse_shape, lse = self.read_npy("l.npy")
        self.assertEqual((shape, lse_shape), ((H, len(q[0]), self.dim), (H, len(q[0]))))
        for r, (row, log) in enumerate(zip(want, want_lse)):
            got = out[r * self.dim:(r + 1) * self.dim]
            error = sum((x - y) ** 2 for x, y in zip(got, row)) ** 0.5
            self.assertLess(error, BOUND * sum(x * x for x in row) ** 0.5, (options, r))
            self.assertLess(abs(lse[r] - log), BOUND * max(1, abs(log)), (options, r))
        return out

    def test_masks_and_scores(self):
        plain = self.check()
        for options, mask in ((("--scale", "0.5"), {"scale": 0.5}), (("--scale", "-0.1"), {"scale": -0.1}),
                              (("--causal",), {"causal": True}), (("--window", "4"), {"window": 4}),
                              (("--causal", "--window", "1"), {"causal": True, "window": 1}),
                              (("--causal", "--window", "5"), {"causal": True, "window": 5}),
                              (("--softcap", "0.7"), {"softcap": 0.7}),
                              (("--softcap", "0.7", "--scale", "1", "--causal"),
                               {"softcap": 0.7, "scale": 1, "causal": True})):
            with self.subTest(options=options):
                self.assertNotEqual(self.check(*options, **mask), plain)
        self.assertEqual(self.check("--window", "1000000000000", window=10 ** 12), plain)

    def test_as_many_queries_as_positions_and_more(self):
        self.make(32, n=T)
        self.check("--causal", causal=True)
        self.check("--window", "3", window=3)
        self.make(32, n=T + 5)
        self.check()

    def test_one_head_and_float16(self):
        values = gaussian(T * 64, seed=4)
        self.write_npy("k.npy", (T, 64), values, descr="<f2")
        self.tqkv("attend", "--q", "k.npy", "--k", "k.npy", "--v", "k.npy", "-o", "o.npy")
        self.assertEqual(self.read_npy("o.npy")[0], (1, T, 64))

    def test_formats(self):
        for dim, k_format, v_format in ((64, "tq4", "tq4"), (96, "tq2", "tq7"), (128, "tq8", "tq3"),
                                        (256, "tq4-v1", "tq4-v1"), (256, "tq8-v1", "tq5"),
                                        (512, "tq5-v1", "tq6-v1")):
            with self.subTest(dim=dim, k_format=k_format):
                self.make(dim)
                self.encode("k", "--format", k_format)
                self.encode("v", "--format", v_format)
                held = {"k_held": "k-decoded.npy", "v_held": "v-decoded.npy", "causal": True}
                fused = self.check("--causal", k="k.st", v="v.st", **held)
                for path in ("fused", "decoded"):
                    out = self.check("--causal", "--path", path, k="k.st", v="v.st", **held)
                    self.assertEqual(out == fused, path == "fused")
                del held["k_held"]
                self.check("--causal", k="k.npy", v="v.st", **held)
                self.check("--causal", "--path", "decoded", k="k.npy", v="v.st", **held)
                self.check("--causal", "--path", "decoded", k="k.st", v="v.npy", k_held="k-decoded.npy",
                           causal=True)

    def test_the_scale_factor_of_v1(self):
        self.make(512)
        self.encode("k", "--format", "tq8-v1", "--scale-factor-d512", "2")
        self.check(k="k.st", k_held="k-decoded.npy")

    def test_rings(self):
        """Wrapped less and more than once, not full; keys and values in rings of different sizes."""
        for k_ring, v_ring in ((13, 13), (9, 9), (5, 5), (30, 30)):
            with self.subTest(ring=k_ring):
                self.encode("k", "--format", "tq4", "--capacity", str(k_ring), "--ring")
                self.encode("v", "--format", "tq6", "--capacity", str(v_ring), "--ring")
                held = {"k": "k.st", "v": "v.st", "k_held": "k-decoded.npy", "v_held": "v-decoded.npy"}
                for options, mask in (((), {}), (("--causal", "--window", "4"), {"causal": True, "window": 4})):
                    self.check(*options, **held, **mask)
                    self.check(*options, "--path", "decoded", **held, **mask)
                    self.check(*options, "--splits", "3", **held, **mask)
        # The same positions, in a ring and in a plain file.
        self.encode("k", "--format", "tq4", "--capacity", "9", "--ring")
        self.write_npy("last.npy", (G, 9, 64), [x for g in range(G) for row in self.tensor("v.npy")[g][T - 9:]
                                                for x in row])
        self.check("--causal", k="k.st", v="last.npy", k_held="k-decoded.npy", v_held="last.npy", causal=True)

    def test_centres(self):
        self.make(64, offset=3.0)
        held = {"k": "k.st", "v": "v.st", "k_held": "k-decoded.npy", "v_held": "v-decoded.npy"}
        for side in ("k", "v", "kv"):
            for ring in ((), ("--capacity", "9", "--ring")):
                with self.subTest(side=side, ring=ring):
                    for name in "kv":
                        self.encode(name, "--format", "tq4", *ring,
                                    *(("--center", "mean") if name in side else ()))
                    self.check("--causal", **held, causal=True)
                    self.check("--causal", "--path", "decoded", **held, causal=True)
                    self.check("--splits", "4", "--softcap", "3", **held, softcap=3.0)

    def test_a_centre_for_each_stretch(self):
        """Keys and values with stretches of different lengths, in rings that have forgotten some."""
        self.make(64, offset=3.0)
        held = {"k": "k.st", "v": "v.st", "k_held": "k-decoded.npy", "v_held": "v-decoded.npy"}
        for sides in ({"k": "4"}, {"v": "5"}, {"k": "4", "v": "3"}, {"k": "1", "v": "all"}, {"k": "all", "v": "1"}):
            for ring in ((), ("--capacity", "9", "--ring"), ("--capacity", "30")):
                with self.subTest(sides=sides, ring=ring):
                    for name in "kv":
                        self.encode(name, "--format", "tq4", *ring, *(
                            ("--center", "mean", "--center-stretch", sides[name]) if name in sides else ()))
                    self.check("--causal", **held, causal=True)
                    self.check("--causal", "--window", "4", **held, causal=True, window=4)
                    self.check("--causal", "--path", "decoded", **held, causal=True)
                    self.check("--splits", "4", "--softcap", "3", **held, softcap=3.0)

    def test_splits(self):
        self.encode("k", "--format", "tq4")
        whole = self.check(k="k.st", k_held="k-decoded.npy")
        seen = set()
        for splits in (1, 2, 5, T):
            out = self.check("--splits", str(splits), "--causal", k="k.st", k_held="k-decoded.npy", causal=True)
            self.assertNotEqual(out, whole)
            seen.add(bytes(out))
        self.assertGreater(len(seen), 1, "splits change the order of sums")

    def test_threads_do_not_matter(self):
        self.encode("k", "--format", "tq4")
        self.attend(k="k.st")
        one = self.read("o.npy"), self.read("l.npy")
        for threads in ("1", "2", "7"):
            self.tqkv("attend", "--q", "q.npy", "--k", "k.st", "--v", "v.npy", "-o", "o.npy", "--lse",
                      "l.npy", "--threads", threads)
            self.assertEqual((self.read("o.npy"), self.read("l.npy")), one)

    def make_cache(self, positions, n):
        """Tensors of float16 values; k-decoded.npy and v-decoded.npy: what a cache makes of them by default."""
        for name, count, rows, seed in (("q", H, n, 1), ("k", G, positions, 2), ("v", G, positions, 3)):
            shift = [3.0 * x if name == "k" else 0.0 for x in gaussian(64, seed=9)]
            self.write_npy(f"{name}.npy", (count, rows, 64), array.array("f", (
                x + shift[i % 64] for i, x in enumerate(gaussian(count * rows * 64, seed)))), descr="<f2")
        halves = {name: self.halves(name, rows, count)
                  for name, count, rows in (("q", H, n), ("k", G, positions), ("v", G, positions))}
        # Its centre is the mean of the first 64 keys behind the sink.
        self.write_npy("centre.npy", (G, 64), [sum(head[t][d] for t in range(1, 65)) / 64
                                               for head in halves["k"] for d in range(64)])
        self.encode("k", "--format", "tq6", "--center", "centre.npy")
        self.encode("v", "--format", "tq4")
        return halves

    def halves(self, name, rows, count):
        data = self.read(f"{name}.npy")[-2 * count * rows * 64:]
        return heads((count, rows, 64), struct.unpack(f"<{count * rows * 64}e", data))

    def check_cache(self, name, sinks, recent, *options, **mask):
        self.attend("--format", name, "--arithmetic", "float", *options)
        q, k, v = (self.made[x] for x in "qkv")
        want, want_lse, _ = attend_cache(q, (k, v), (self.tensor("k-decoded.npy"), self.tensor("v-decoded.npy")),
                                         sinks, recent, **mask)
        out, lse = self.read_npy("o.npy")[1], self.read_npy("l.npy")[1]
        for r, (row, log) in enumerate(zip(want, want_lse)):
            error = sum((x - y) ** 2 for x, y in zip(out[r * 64:(r + 1) * 64], row)) ** 0.5
            self.assertLess(error, BOUND * sum(x * x for x in row) ** 0.5, (options, r))
            self.assertLess(abs(lse[r] - log), BOUND * max(1, abs(log)), (options, r))
        return self.read("o.npy")

    def test_caches(self):
        """What queries find ages between them: those of a cache that grows, against float64."""
        self.made = self.make_cache(100, 12)
        self.assertEqual(self.check_cache("default", 1, 64, "--causal", causal=True),
                         self.check_cache("tq6/tq4+centre+recent+sinks", 1, 64, "--causal", causal=True))
        self.check_cache("default", 1, 64, "--causal", "--softcap", "3", "--scale", "0.2", causal=True, softcap=3.0,
                         scale=0.2)
        self.check_cache("default", 1, 64)
        # A window's cache is a ring; its sink is out of sight.
        self.check_cache("default", 1, 64, "--causal", "--window", "80", causal=True, window=80)
        self.encode("k", "--format", "tq6")
        self.check_cache("tq6/tq4+sinks=3+recent=7", 3, 7, "--causal", causal=True)
        self.check_cache("tq6/tq4", 0, 0, "--causal", causal=True)

    def test_threads_do_not_matter_to_caches(self):
        self.made = self.make_cache(100, 40)
        seen = set()
        for threads in ("1", "2", "5"):
            self.attend("--format", "default", "--causal", "--threads", threads)
            seen.add((self.read("o.npy"), self.read("l.npy")))
        self.assertEqual(len(seen), 1)

    def test_caches_that_cannot_be(self):
        self.encode("k", "--format", "tq4")
        self.refuse(2, "--format: k.st is encoded already; give plain tensors", "--format", "tq4", k="k.st")
        for options in (("--path", "fused"), ("--splits", "2"), ("--device", "cuda")):
            self.refuse(2, f"{options[0]} does nothing with --format", "--format", "default", *options)
        for name, pattern in (("tq9", "'tq9': there is no format 'tq9'"), ("tq4+sink", r"'tq4\+sink': "),
                              ("tq4+sinks=0", r"'tq4\+sinks=0': "), ("q8_0", "'q8_0': keys and values in tq formats"),
                              ("k-tq4", "'k-tq4': keys and values in tq formats"), ("", "'': there is no format"),
                              ("tq4,tq6", "'tq4,tq6': there is no format")):
            self.refuse(2, pattern, "--format", name)
        self.refuse(1, "head_dim", "--format", "tq4-v1")
        self.write_npy("large.npy", (G, T, 64), [1e5] + [0.0] * (G * T * 64 - 1))
        self.refuse(1, r"large\.npy: value \[0, 0, 0\] .* is 100000; with a centre or float16 positions",
                    "--format", "tq4+recent", v="large.npy")
        done = self.run_raw("attend", "--q", "q.npy", "--k", "k.npy", "--v", "v.npy", "-o", "o.npy", "--format",
                            "default")
        self.assertRegex(done.stderr, f"note: default: {T} positions stay in float16; nothing is encoded")

    def test_the_kind_is_told_by_the_bytes(self):
        self.encode("k", "--format", "tq4")
        self.check(k="k.st", k_held="k-decoded.npy")
        os.rename(self.path("k.st"), self.path("k.bin"))
        self.check(k="k.bin", k_held="k-decoded.npy")

    def refuse(self, status, pattern, *options, q="q.npy", k="k.npy", v="v.npy", **how):
        self.refused(status, pattern, "attend", "--q", q, "--k", k, "--v", v, "-o", "new.npy", *options, **how)

    def test_wrong_use(self):
        for missing, options in (("--q Q.npy", "kvo"), ("--k FILE", "qvo"), ("--v FILE", "qko"), ("-o O.npy", "qkv")):
            given = [x for o in options for x in (("--" + o, o + ".npy") if o != "o" else ("-o", "new.npy"))]
            self.refused(2, missing + " is missing", "attend", *given)
        for text in ("inf", "nan", "1x", "1e60", ""):
            self.refuse(2, "--scale: '.*' is not", f"--scale={text}")
        for text in ("0", "-1", "inf", "nan", "no"):
            self.refuse(2, "--softcap: '.*' is not", f"--softcap={text}")
        self.refuse(2, "--window: a window of 0", "--window", "0")
        self.refuse(2, "--window: '-1' is not a whole number", "--window=-1")
        self.refuse(2, "--path: 'slow' is none; there are fused and decoded", "--path", "slow")
        self.refuse(2, "--path decoded: neither k.npy nor v.npy is encoded", "--path", "decoded")
        for text in ("0", "1025"):
            self.refuse(2, f"--threads: {text} is not from 1 to 1024", "--threads", text)
        self.refuse(2, "--splits: 0 stretches", "--splits", "0")
        self.refuse(2, f"--splits: 22 stretches of {T} positions", "--splits", "22")
        self.refuse(2, "new.npy: is the same file as the output new.npy", "--lse", "new.npy")
        self.refuse(2, "'more' is one argument too many", "more")

    def test_shapes_that_do_not_fit(self):
        self.write_npy("short.npy", (G, T - 1, 64), gaussian(G * (T - 1) * 64))
        self.write_npy("wide.npy", (G, T, 96), gaussian(G * T * 96))
        self.write_npy("three.npy", (3, N, 64), gaussian(3 * N * 64))
        self.write_npy("long.npy", (H, T + 1, 64), gaussian(H * (T + 1) * 64))
        self.write_npy("none.npy", (G, 0, 64), [])
        self.refuse(1, r"short\.npy: 2 heads of 20 positions; k\.npy has 2 of 21", v="short.npy")
        self.refuse(1, r"wide\.npy: head dimension 96; that of k\.npy is 64", v="wide.npy")
        self.refuse(1, r"q\.npy: head dimension 64; that of wide\.npy is 96", k="wide.npy", v="wide.npy")
        self.refuse(1, r"three\.npy: 3 query heads .* 2 heads of k\.npy", q="three.npy")
        self.refuse(1, r"none\.npy: .*no values", k="none.npy", v="none.npy")
        for option in (("--causal",), ("--window", "2")):
            self.refuse(1, r"long\.npy: 22 queries a head, but k\.npy holds 21 positions", *option, q="long.npy")

    def test_bad_files(self):
        values = gaussian(G * T * 64)
        values[64 * T + 65] = float("nan")
        self.write_npy("nan.npy", (G, T, 64), values)
        for side in "kv":
            self.refuse(1, r"nan\.npy: value \[1, 1, 1\] \(flat index 1409\) is NaN", **{side: "nan.npy"})
            self.refuse(1, r"missing\.npy", **{side: "missing.npy"})
        self.write_npy("nanq.npy", (H, 1, 64), [float("inf")] + [0.0] * (H * 64 - 1))
        self.refuse(1, r"nanq\.npy: value \[0, 0, 0\] .* is infinite", q="nanq.npy")
        self.encode("k", "--format", "tq4")
        self.refuse(1, r"k\.st", q="k.st")
        data = bytearray(self.read("k.st"))
        data[-1] ^= 1
        self.write("damaged.st", bytes(data))
        self.refuse(1, r"damaged\.st: .*codes", k="damaged.st")

    def test_either_both_results_or_none(self):
        self.refuse(1, "nowhere", "--lse", "nowhere/l.npy")
        self.refused(1, "nowhere", "attend", "--q", "q.npy", "--k", "k.npy", "--v", "v.npy", "-o",
                     "nowhere/o.npy", "--lse", "l.npy")

        def small_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (256, 256))
        self.refuse(1, "new.npy: .*File too large", "--lse", "l.npy", preexec_fn=small_files)

    def test_an_output_that_is_there_is_replaced(self):
        self.write("o.npy", b"old")
        self.check()

    def test_help_and_man_page(self):
        self.check_documented("attend")


main()
