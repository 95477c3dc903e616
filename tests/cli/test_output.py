# SPDX-License-Identifier: MIT
"""What is printed: keys of the JSON objects, tables, help, and standard output that cannot take it."""
import json
import os
import re
import shutil
import subprocess

from support import TQKV, V1_FORMATS, V2_FORMATS, CommandTest, gaussian, main

COMMANDS = ("encode", "decode", "info", "compare", "sweep", "requantize", "codebook", "formats")


class Output(CommandTest):
    def setUp(self):
        super().setUp()
        self.write_npy("x.npy", (2, 5, 256), gaussian(2 * 5 * 256))
        self.tqkv("encode", "x.npy", "-o", "x.st", "--format", "tq4", "--center", "mean")

    def results(self):
        return (("encode", "x.npy", "-o", "out.st", "--format", "tq4"), ("info", "x.npy"), ("info", "x.st"),
                ("compare", "x.npy", "x.npy"), ("sweep", "x.npy"), ("codebook", "--bits", "8"), ("formats",))

    def test_keys(self):
        encode = self.json("encode", "x.npy", "-o", "y.st", "--format", "tq4")
        self.assertEqual(list(encode), ["format", "head_dim", "n_kv_heads", "n_positions", "capacity",
                                        "ring_start", "norm_rule", "centre", "n_centres", "centre_stretch",
                                        "bytes", "bits_per_value", "rel_mse", "theory_rel_mse"])
        self.assertEqual(list(self.json("compare", "x.npy", "x.npy")),
                         ["n_values", "n_vectors", "rel_mse", "cosine_mean", "cosine_p1", "max_abs"])
        self.assertEqual(list(self.json("info", "x.npy")),
                         ["file", "kind", "dtype", "shape", "n_values", "n_not_finite", "data_bytes",
                          "file_bytes", "bits_per_value"])
        self.assertEqual(list(self.json("info", "x.st")),
                         ["file", "kind", "format", "head_dim", "n_kv_heads", "n_positions", "capacity",
                          "ring_start", "norm_rule", "centre", "n_centres", "centre_stretch", "codes_bytes",
                          "norms_bytes", "centre_bytes", "bytes", "file_bytes", "bits_per_value", "metadata"])
        self.assertEqual(list(self.json("codebook", "--bits", "4")),
                         ["codebook", "bits", "distortion", "optimal_distortion", "excess", "centroids",
                          "boundaries"])
        self.assertEqual([row["format"] for row in self.json("formats")["formats"]], V2_FORMATS + V1_FORMATS)

    def test_how_a_tensor_is_read(self):
        """Said before the work, so also where that fails. JSON has it in its object."""
        self.write_npy("turned.npy", (300, 2, 64), gaussian(300 * 2 * 64))
        reading = "# turned.npy: 300 heads of 2 positions of 64\n"
        for arguments in (("encode", "turned.npy", "-o", "t.st", "--format", "tq4"), ("sweep", "turned.npy")):
            done = self.run_raw(*arguments)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue(done.stdout.startswith(reading), done.stdout)
            self.assertNotIn("#", self.run_raw(*arguments, "--json").stdout)
        self.refused(1, "No such file", "encode", "turned.npy", "-o", "no/t.st", "--format", "tq4")
        self.write_npy("one.npy", (1, 64), gaussian(64))
        self.assertTrue(self.tqkv("encode", "one.npy", "-o", "o.st", "--format", "tq4").startswith(
            "# one.npy: 1 head of 1 position of 64\n"))
        self.write_npy("odd.npy", (4, 3, 33), [1.0] * (4 * 3 * 33))
        done = self.refused(1, "head_dim", "encode", "odd.npy", "-o", "o2.st", "--format", "tq4")
        self.assertEqual(done.stdout, "# odd.npy: 4 heads of 3 positions of 33\n")

    def test_info_sizes(self):
        info = self.json("info", "x.st")
        self.assertEqual((info["codes_bytes"], info["norms_bytes"], info["centre_bytes"]),
                         (2 * 5 * 128, 2 * 5 * 2, 2 * 256 * 2))
        self.assertEqual(info["bytes"], info["codes_bytes"] + info["norms_bytes"] + info["centre_bytes"])
        self.assertEqual(info["file_bytes"], os.path.getsize(self.path("x.st")))
        self.assertEqual(info["metadata"]["tqkv.format"], "tq4")
        self.assertRegex(info["metadata"]["tqkv.xxh3.codes"], "^[0-9a-f]{16}$")
        plain = self.json("info", "x.npy")
        self.assertEqual((plain["shape"], plain["data_bytes"]), ([2, 5, 256], 2 * 5 * 256 * 4))
        self.assertEqual(plain["file_bytes"], os.path.getsize(self.path("x.npy")))

    def test_positions_of_a_centre(self):
        for options, words, number in (((), "none", 0), (("--center", "mean"), "256", 256),
                                       (("--center", "mean", "--center-stretch", "all"), "all", 0)):
            text = self.tqkv("encode", "x.npy", "-o", "y.st", "--format", "tq4", *options)
            for shown in (text, self.tqkv("info", "y.st")):
                self.assertRegex(shown, rf"(?m)^positions a centre +{words}$")
            self.assertEqual(self.json("info", "y.st")["centre_stretch"], number)

    def test_sweep(self):
        self.write_npy("narrow.npy", (1, 4, 64), gaussian(4 * 64))
        done = self.run_raw("sweep", "x.npy", "narrow.npy", "--json")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stderr, r"note: narrow\.npy: v1 formats are left out: .*not 64")
        first, second = json.loads(done.stdout)["tensors"]
        default = ["default", "default"]  # keys and values
        self.assertEqual([row["format"] for row in first["formats"]], V2_FORMATS + V1_FORMATS + default)
        self.assertEqual([row["format"] for row in second["formats"]], V2_FORMATS + default)
        for row in first["formats"][:-2]:
            told = self.json("encode", "x.npy", "-o", "y.st", "--format", row["format"])
            self.assertEqual((row["rel_mse"], row["bits_per_value"]), (told["rel_mse"], told["bits_per_value"]))
            self.assertAlmostEqual(row["times_theory"], told["rel_mse"] / told["theory_rel_mse"], places=7)
            self.tqkv("decode", "y.st", "-o", "y.npy")
            far = self.json("compare", "x.npy", "y.npy")
            for key in ("rel_mse", "cosine_mean", "cosine_p1"):
                self.assertAlmostEqual(row[key], far[key], places=8)
        done = self.run_raw("sweep", "x.npy", "--center", "mean", "--json")
        self.assertRegex(done.stderr, "v1 formats are left out: they have no centre")
        centred = json.loads(done.stdout)["tensors"][0]
        self.assertEqual([row["format"] for row in centred["formats"]], V2_FORMATS + default)
        self.assertEqual((first["n_centres"], first["centre_stretch"]), (0, 0))

    def test_sweep_centres(self):
        """As encode makes them, and said above the table."""
        for kind, stretch, n, text in (("mean", "2", 3, "the means of stretches of 2 positions"),
                                       ("learn", "3", 2, "the learned centres of stretches of 3 positions"),
                                       ("mean", "1", 5, "the means of stretches of 1 position"),
                                       ("learn", "all", 1, "the learned centre of all positions")):
            options = ("--center", kind, "--center-stretch", stretch)
            swept = json.loads(self.run_raw("sweep", "x.npy", *options, "--json").stdout)["tensors"][0]
            self.assertEqual((swept["n_centres"], swept["centre_stretch"]), (n, int(stretch) if n > 1 else 0))
            for row in swept["formats"][:-2]:
                told = self.json("encode", "x.npy", "-o", "y.st", "--format", row["format"], *options)
                self.assertEqual((row["rel_mse"], row["bits_per_value"]), (told["rel_mse"], told["bits_per_value"]))
            self.assertTrue(self.run_raw("sweep", "x.npy", *options).stdout.startswith(
                f"# x.npy: 2 heads of 5 positions of 256, without {text}\n"))

    def test_sweep_names(self):
        """Rows by name: what is encoded of a cache has the error; its bits count everything."""
        values = gaussian(2 * 400 * 64, 5)
        self.write_npy("long.npy", (2, 400, 64), values)
        names = "default,tq6/tq4+centre+recent+sinks,tq4+recent=100,tq4,tq6+unbiased,tq8/tq4"
        told = json.loads(self.tqkv("sweep", "long.npy", "--formats", names, "--json"))["tensors"][0]["formats"]
        rows = {(row["format"], row["as"]): row for row in told}
        self.assertEqual(list(rows), [("default", "keys"), ("default", "values"),
                                      ("tq6/tq4+centre+recent+sinks", "keys"),
                                      ("tq6/tq4+centre+recent+sinks", "values"), ("tq4+recent=100", "both"),
                                      ("tq4", "both"), ("tq6+unbiased", "both"), ("tq8/tq4", "keys"),
                                      ("tq8/tq4", "values")])
        # 300 positions of 4 bits and a norm, 100 in float16.
        recent = rows["tq4+recent=100", "both"]
        self.assertAlmostEqual(recent["bits_per_value"], (300 * 4.25 + 100 * 16) / 400, places=6)
        first = [x for g in range(2) for x in values[g * 400 * 64:(g * 400 + 300) * 64]]
        self.write_npy("first.npy", (2, 300, 64), first)
        self.assertAlmostEqual(recent["rel_mse"] / self.json("encode", "first.npy", "-o", "y.st", "--format",
                                                             "tq4")["rel_mse"], 1, places=3)
        # 1 sink, 335 codes and 64 recent ones; two centres of 16 bits a coordinate, of keys alone.
        for side, bits, centres in (("keys", 6.25, 2), ("values", 4.25, 0)):
            self.assertAlmostEqual(rows["default", side]["bits_per_value"],
                                   (335 * bits + (65 + centres) * 16) / 400, places=6)
        self.assertEqual(rows["tq8/tq4", "values"]["rel_mse"], rows["tq4", "both"]["rel_mse"])
        self.write_npy("short.npy", (2, 40, 64), gaussian(2 * 40 * 64))
        row = json.loads(self.tqkv("sweep", "short.npy", "--formats", "default", "--json"))["tensors"][0]["formats"][0]
        self.assertEqual((row["bits_per_value"], row["rel_mse"]), (16.0, None))
        text = self.tqkv("sweep", "long.npy", "--formats", names)
        self.assert_fits_80_columns(text)
        self.assertIn("# is encoded in the end", text)
        self.refused(2, "--center does nothing with --formats", "sweep", "long.npy", "--formats", "tq4", "--center",
                     "mean")
        self.refused(2, "'tq9': there is no format", "sweep", "long.npy", "--formats", "tq4,tq9")
        self.refused(1, "long.npy: head dimension 64 is none of those that 'tq4-v1' serves", "sweep", "long.npy",
                     "--formats", "tq4-v1")

    def test_threads_do_not_matter(self):
        self.write_npy("long.npy", (3, 500, 64), gaussian(3 * 500 * 64, 5))
        seen = []
        for one in (False, True):
            options = {"preexec_fn": lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})} if one else {}
            done = self.run_raw("encode", "long.npy", "-o", "y.st", "--format", "tq4+centre=100", "--json", **options)
            swept = self.run_raw("sweep", "long.npy", "--json", **options)
            seen.append((done.stdout, self.read("y.st"), swept.stdout))
        self.assertEqual(seen[0], seen[1])

    def test_tables_are_aligned_and_narrow(self):
        for arguments in self.results():
            text = self.tqkv(*arguments)
            self.assert_fits_80_columns(text)
        rows = self.tqkv("formats").splitlines()
        self.assertEqual(len({len(row) for row in rows}), 1)

    def test_json_is_one_object(self):
        for arguments in self.results():
            done = self.run_raw(*arguments, "--json")
            self.assertIsInstance(json.loads(done.stdout), dict)

    def test_names_are_escaped(self):
        self.write_npy('odd "name"\n\\.npy', (1, 2, 64), gaussian(128))
        self.assertEqual(self.json("info", 'odd "name"\n\\.npy')["file"], 'odd "name"\n\\.npy')
        path = os.path.join(os.fsencode(self.folder), b"\xff\xfe.npy")
        os.rename(self.path("x.npy"), path)
        done = subprocess.run([TQKV, "info", path, "--json"], stdout=subprocess.PIPE, check=True)
        self.assertTrue(json.loads(done.stdout)["file"].endswith("??.npy"))

    def test_float32_survives_json(self):
        for bits in range(2, 9):
            book = self.json("codebook", "--bits", str(bits))
            text = self.tqkv("codebook", "--bits", str(bits)).splitlines()[6:]
            self.assertEqual([float(line.split()[1]) for line in text], book["centroids"])

    def test_help(self):
        whole = self.tqkv("--help")
        self.assert_fits_80_columns(whole)
        self.assertEqual(whole, self.tqkv("-h"))
        for command in COMMANDS:
            self.assertIn(f"\n  {command} ", whole)
            text = self.tqkv(command, "--help")
            self.assertIn(f"Usage: tqkv {command} ", text)
            self.assertIn("Examples:\n  tqkv " + command, text)
            self.assertIn("--help", text)
            self.assert_fits_80_columns(text)
        self.assertRegex(self.tqkv("--version"), r"^tqkv \d+\.\d+\.\d+\n$")

    def test_the_man_page_knows_every_option(self):
        page = os.path.join(os.environ["TQKV_SOURCE"], "docs", "tqkv.1")
        with open(page, encoding="ascii") as file:
            text = file.read()
        for command in COMMANDS:
            part = text.split(f".Ss tqkv {command}\n")[1].split(".Ss ")[0]
            for option in re.findall(r"^ +(?:-\w, +)?--([\w-]+)", self.tqkv(command, "--help"), re.M):
                self.assertIn(f"Fl -{option}", part if option not in ("json", "help", "bits", "codebook") else text)
        if shutil.which("mandoc"):
            lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], check=False,
                                  stdout=subprocess.PIPE, text=True)
            self.assertEqual((lint.returncode, lint.stdout), (0, ""))

    def test_standard_output_is_full(self):
        silent = ("--help",), ("encode", "--help"), ("--version",)
        for arguments in (*self.results(), *silent):
            for extra in ((), ("--json",)) if arguments not in silent else ((),):
                with open("/dev/full", "w", encoding="ascii") as full:
                    self.refused(1, "standard output: No space left", *arguments, *extra, stdout=full)

    def test_standard_output_is_closed(self):
        for arguments in self.results():
            self.refused(1, "standard output: Bad file descriptor", *arguments,
                         preexec_fn=lambda: os.close(1), stdout=None)

    def test_nothing_but_the_file(self):
        self.assertEqual(self.tqkv("decode", "x.st", "-o", "y.npy"), "")
        self.assertEqual(self.tqkv("requantize", "x.npy", "-o", "y.npy", "--bits", "4"), "")


main()
