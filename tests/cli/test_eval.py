# SPDX-License-Identifier: MIT
"""eval: the control, what figures must be, threads, what is wrong, tensors, and the report in a browser."""
import json
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
import xml.etree.ElementTree as xml

from support import TQKV, CommandTest, main

MODELS = os.path.join(os.environ["TQKV_SOURCE"], "models")
SWA = os.path.join(MODELS, "kjv-swa.safetensors")
BIAS = os.path.join(MODELS, "kjv-bias.safetensors")
TEXT = os.path.join(MODELS, "kjv-heldout.txt")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TINY = os.path.join(os.environ["TQKV_SOURCE"], "tests", "lm", "fixtures", "tiny-llama.safetensors")
BESIDE = ("kl_less_default", "tie")  # of a row, and it moves with the default's
TIMES = ("seconds", "tokens_per_second", "tokens_per_second_and_format")
# Hundreds of tokens for a figure take minutes under a sanitizer, in code that shorter tests run too.
figure = unittest.skipIf(os.environ.get("TQKV_SANITIZED"), "a figure: nothing for a sanitizer")


def untimed(value):
    """The same without what a clock has measured."""
    if isinstance(value, dict):
        return {key: untimed(x) for key, x in value.items() if key not in TIMES}
    return [untimed(x) for x in value] if isinstance(value, list) else value


class EvalTest(CommandTest):
    def eval_raw(self, *options, model=SWA, tokens=300, threads=1):
        return self.run_raw("eval", "--model", model, "--tokens", str(tokens), "--threads", str(threads), *options)

    def eval(self, *options, **how):
        done = self.eval_raw("--json", *options, **how)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        result = json.loads(done.stdout)
        return result, {row["name"]: row for row in result["rows"]}


class Figures(EvalTest):
    def test_the_control_is_zero(self):
        result, rows = self.eval("--formats", "tq2,float16")
        self.assertEqual(list(rows), ["float32", "tq2", "float16"])
        control = rows["float32"]
        for name in ("bits_change", "perplexity_change", "kl_mean", "kl_median", "kl_p99"):
            self.assertEqual(control[name], 0, name)
            self.assertNotEqual(rows["tq2"][name], 0, name)
        for name in ("same_top", "cosine_mean", "cosine_p1"):
            self.assertEqual(control[name], 1, name)
            self.assertLess(rows["tq2"][name], 1, name)
        self.assertEqual(control["layer_error"], [0] * 4)
        self.assertEqual(control["bits_per_value"], 32)
        self.assertEqual(control["bits_per_token"], result["reference_bits_per_token"])
        self.assertEqual(control["perplexity"], result["reference_perplexity"])
        self.assertAlmostEqual(control["perplexity"], 2 ** control["bits_per_token"], places=7)

    def test_what_a_cache_takes(self):
        """Three windows of 256 with 2 heads of 256 values, one layer of 300 with a head of 512."""
        rows = self.eval("--formats", "tq4,tq4-v1,tq8/tq4,k-tq4,q4_0,tq4+recent=32+sinks=2,tq4+edge=1,"
                         "q4_0+rotate+sinks=2,q5_0,iq4_nl+rotate")[1]
        values = 2 * 512 * (3 * 256 + 300)

        def both(side_256, side_512):
            return 2 * (3 * 256 * 2 * side_256 + 300 * side_512)

        expected = {"float32": 4 * values, "tq4": both(130, 258), "tq4-v1": both(132, 264),
                    "tq8/tq4": both(258, 514) // 2 + both(130, 258) // 2,
                    "k-tq4": both(130, 258) // 2 + 2 * values, "q4_0": values * 9 // 16,
                    "q5_0": values * 22 // 32, "iq4_nl+rotate": values * 9 // 16,
                    # Layers 0 and 3 in tq8.
                    "tq4+edge=1": 2 * (2 * 256 * (258 + 2 * 130) + 300 * 514),
                    "q4_0+rotate+sinks=2": 2 * (3 * 2 * (256 * 144 + 2 * 512) + 298 * 288 + 2 * 1024),
                    # Sinks left the windows long ago, but rings keep them: two more positions there.
                    "tq4+recent=32+sinks=2":
                        both(130, 258) + 2 * (3 * 2 * (32 * (512 - 130) + 2 * 512) + 34 * (1024 - 258))}
        self.assertEqual({name: row["cache_bytes"] for name, row in rows.items()}, expected)
        for name, row in rows.items():
            self.assertAlmostEqual(row["bits_per_value"], 8 * row["cache_bytes"] / values, places=6)
            self.assertEqual(row["memory"][-1], row["cache_bytes"])
            self.assertEqual(sorted(row["memory"]), row["memory"])

    @figure
    def test_more_bits_are_nearer(self):
        result, rows = self.eval("--formats", "tq8,tq6,tq4,tq2,tq8-v1,q8_0+rotate", tokens=500)
        divergences = [rows[f"tq{bits}"]["kl_mean"] for bits in (8, 6, 4, 2)]
        for low, high in zip(divergences, divergences[1:]):
            self.assertLess(0, low)
            self.assertLess(4 * low, high)
        self.assertGreaterEqual(rows["tq8"]["same_top"], 0.995)
        self.assertGreaterEqual(rows["tq6"]["same_top"], 0.99)
        self.assertLess(rows["tq8"]["kl_mean"], rows["tq8-v1"]["kl_mean"])
        for layer in range(4):
            self.assertLess(rows["tq8"]["layer_error"][layer], rows["tq6"]["layer_error"][layer] / 8)
        for row in rows.values():
            self.assertLessEqual(row["kl_median"], row["kl_p99"])
            self.assertLessEqual(row["cosine_p1"], row["cosine_mean"])
            self.assertAlmostEqual(row["perplexity_change"], 2 ** row["bits_change"] - 1, places=7)
        (pair,) = result["pairs"]
        more = 8.5 - rows["tq8"]["bits_per_value"]
        self.assertTrue(math.isclose(pair["baseline_kl_moved"], rows["q8_0+rotate"]["kl_mean"] * 4 ** more,
                                     rel_tol=1e-6))

    @figure
    def test_the_centre_recovers_a_biased_model(self):
        rows = self.eval("--formats", "k-tq4,k-tq4+centre", model=BIAS, tokens=500)[1]
        lost, left = rows["k-tq4"]["kl_mean"], rows["k-tq4+centre"]["kl_mean"]
        self.assertGreater(lost, 0.05)
        self.assertLess(left, 0.2 * lost)
        self.assertLess(rows["k-tq4+centre"]["bits_change"], 0.2 * rows["k-tq4"]["bits_change"])

    def test_threads_do_not_matter(self):
        results = [self.eval("--formats", "tq8/tq4,q4_0+rotate,tq4+centre=100+recent", threads=n)[0] for n in (1, 2)]
        self.assertEqual(untimed(results[0]), untimed(results[1]))

    @figure
    def test_arithmetic(self):
        """Integers change what is encoded, and little of it; not the control, or what stays in float32."""
        formats = ("--formats", "float16,default,tq4,tq8-v1")
        usual = self.eval(*formats, "--arithmetic", "float")[0]
        self.assertEqual(usual["arithmetic"], "float")
        result, rows = self.eval(*formats)
        self.assertEqual(result["arithmetic"], "default")
        whole = self.eval(*formats, "--arithmetic", "integer")[0]
        self.assertEqual(whole["arithmetic"], "integer")
        self.assertEqual(untimed({**whole, "arithmetic": "default"}), untimed(result))  # few heads share a KV head
        for before in usual["rows"]:
            now = rows[before["name"]]
            if before["name"] in ("default", "tq4"):
                self.assertNotEqual(now["kl_mean"], before["kl_mean"])
                for one, other in zip(now["layer_error"], before["layer_error"]):
                    self.assertTrue(math.isclose(one, other, rel_tol=0.02), before["name"])
            else:
                self.assertEqual(untimed(now), untimed({**before, **{key: now[key] for key in BESIDE}}))
        said = self.eval_raw("--formats", "tq4", "--arithmetic", "integer", tokens=40).stdout
        self.assertIn("\n# products with v2 codes: integer\n", said)
        self.refused(2, "--arithmetic does nothing with these --formats", "eval", "--model", SWA, "--formats",
                     "float16,tq8-v1,q4_0", "--arithmetic", "integer")

    def test_a_new_context_starts_empty(self):
        """Two contexts of 60 are, on average, the two texts apart."""
        with open(TEXT, "rb") as file:
            text = file.read(121)
        self.write("second", text[60:])
        together = self.eval("--context", "60", "--text", TEXT, "--formats", "tq4", model=BIAS, tokens=120)
        whole = together[1]
        first = self.eval("--formats", "tq4", "--text", TEXT, model=BIAS, tokens=60)
        second = self.eval("--formats", "tq4", "--text", "second", model=BIAS, tokens=60)
        for key in ("kl_mean", "bits_per_token", "same_top"):
            apart = (first[1]["tq4"][key] + second[1]["tq4"][key]) / 2
            self.assertTrue(math.isclose(whole["tq4"][key], apart, rel_tol=1e-8), key)
        self.assertEqual(together[0]["memory_contexts"][-1], 60)

    def test_the_default(self):
        """15 positions of 80 are encoded: keys 6 bits and values 4, less a mean of 64 after the sink."""
        names = ["default", "tq6/tq4+centre+recent+sinks", "tq6/tq4+centre=256+recent=64+sinks=1"]
        result, rows = self.eval("--formats", ",".join(names), model=BIAS, tokens=80)
        self.assertEqual(result["default"], names[1])
        self.assertEqual(list(rows), ["float32", *names])
        for name in names[1:]:
            self.assertEqual(rows["default"]["kl_mean"], rows[name]["kl_mean"])
        self.assertEqual(rows["default"]["cache_bytes"], 4 * 2 * (15 * (96 + 2 + 64 + 2) + 65 * 2 * 256 + 256))
        own = self.eval("--center", "--formats", "float32", model=BIAS, tokens=65)[1]
        self.assertEqual(list(own), ["float32", "tq6/tq4+centre"])

    @figure
    def test_a_centre_for_each_stretch(self):
        """16/L bits a value of keys, for as many centres as there are: 400 positions are 4 stretches of 100."""
        names = ("k-tq4+centre=100", "k-tq4+centre=all", "k-tq4+centre=100+sinks=120")
        rows = self.eval("--formats", ",".join(names), model=BIAS, tokens=400)[1]
        many, one, fewer = (rows[name]["cache_bytes"] for name in names)
        self.assertEqual(many - one, 4 * 2 * 128 * 2 * 3)
        # Sinks need none: the first stretch is all sinks, 20 of the second are.
        self.assertEqual(fewer - many, 4 * 2 * (120 * (256 - 66) - 128 * 2))
        self.assertNotEqual(rows[names[0]]["kl_mean"], rows[names[1]]["kl_mean"])

    @figure
    def test_a_sink_is_a_position_in_float16(self):
        rows = self.eval("--formats", "default,tq6/tq4+centre+recent", model=BIAS, tokens=300)[1]
        default, bare = rows["default"], rows["tq6/tq4+centre+recent"]
        self.assertEqual(default["cache_bytes"] - bare["cache_bytes"], 4 * 2 * (2 * 256 - (96 + 2 + 64 + 2)))

    @figure
    def test_tables(self):
        done = self.eval_raw("--formats", "main", "--k-format", "tq4", "--recent", "9", "--center", model=BIAS)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("# *: the default, tq6/tq4+centre+recent+sinks, keys less a mean of 64\n"
                      "# for every 256 positions, the last 64 and the first 1 in float16\n", done.stdout)
        self.assertRegex(done.stdout, r"(?m)^tq4\+centre\+recent=9 +\d+\.\d{3} ")
        for line in done.stdout.splitlines():
            if not line.startswith("# kjv"):  # a path
                self.assertLessEqual(len(line), 80, line)
        rows = re.findall(r"(?m)^(\S+(?: [*=])?) +\d+\.\d{3} +\d+ ", done.stdout)
        self.assertEqual(rows[0], "float32")
        self.assertLessEqual(len(rows), 22)  # 20, the control, and the one asked for
        self.assertEqual([name for name in rows if "*" in name], ["default *"])


class Conclusions(EvalTest):
    """What is said of the figures, and what is not where the text is too short."""

    KEYS = ("kl_low", "kl_high", "perplexity_change_low", "perplexity_change_high")

    def said(self, *options, **how):
        """The comments, with their lines joined."""
        done = self.eval_raw(*options, **how)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return re.sub(r"\n# ", " ", done.stdout)

    @figure
    def test_intervals_and_ties(self):
        names = "default,tq6/tq4+centre=256+recent=64+sinks=1,tq4,q4_0+rotate,tq4+centre+recent+sinks," \
                "q4_0+rotate+recent+sinks"
        result, rows = self.eval("--formats", names, model=BIAS, tokens=512)
        for row in rows.values():
            self.assertLessEqual(row["kl_low"], row["kl_mean"], row["name"])
            self.assertGreaterEqual(row["kl_high"], row["kl_mean"])
            self.assertLessEqual(row["perplexity_change_low"], row["perplexity_change_high"])
        ties = [name for name, row in rows.items() if row["tie"]]
        self.assertEqual(ties, ["tq6/tq4+centre=256+recent=64+sinks=1"])
        self.assertEqual(rows[ties[0]]["kl_less_default"], [0, 0])
        self.assertGreater(rows["tq4"]["kl_less_default"][0], 0)
        self.assertLess(rows["float32"]["kl_less_default"][1], 0)
        bare, helped = result["pairs"]
        self.assertEqual((bare["name"], bare["baseline"]), ("tq4", "q4_0+rotate"))
        self.assertEqual((helped["baseline"], helped["lower"], helped["lower_moved"]),
                         ("q4_0+rotate+recent+sinks", "ours", "ours"))
        self.assertLess(helped["kl_less_high"], 0)
        self.assertLessEqual(helped["kl_less_low"], helped["kl"] - helped["baseline_kl"])

        said = self.said("--formats", names, model=BIAS, tokens=512)
        self.assertRegex(said, r"The default changes the perplexity by [+-]\d\.\d{3} % \(95 %: \S+ to \S+\), ")
        self.assertRegex(said, r"The most is lost with tq4: \+\d+\.\d{3} %\.")
        self.assertIn("=: its KL cannot be told from the default's", said)
        self.assertRegex(said, r"(?m)^tq6/tq4\+centre=256\+recent=64\+sinks=1 = +\d")
        self.assertIn("Not told apart from the default by this text: tq6/tq4+centre=256+recent=64+sinks=1. Every row "
                      "of fewer bits is further from float32 than the default: the nearest, tq4+centre+recent+sinks (",
                      said)
        self.assertRegex(said, r"Of 2 pairs tq is nearer to float32 in 1, the baseline in ")
        self.assertRegex(said, r"Widest apart: q4_0\+rotate\+recent\+sinks \(\d\.\d\d bits\) has \d+ times the KL of "
                               r"tq4\+centre\+recent\+sinks \(")

    def test_a_short_text_claims_nothing(self):
        names = "default,tq6/tq4+centre=256+recent=64+sinks=1,tq4,q4_0+rotate"
        result, rows = self.eval("--formats", names, model=BIAS, tokens=150)
        for row in rows.values():
            self.assertEqual([row[key] for key in self.KEYS], [None] * 4)
            self.assertEqual((row["kl_less_default"], row["tie"]), (None, False))
        self.assertEqual([result["pairs"][0][key] for key in ("kl_less_low", "kl_less_moved_high")], [None] * 2)
        said = self.said("--formats", names, model=BIAS, tokens=150)
        self.assertIn("%; the text is too short to say how sure that is. It takes ", said)
        self.assertIn("The text is too short to tell rows from the default: that takes 8 blocks of 64 tokens.", said)
        self.assertIn("The text is too short to tell the two of a pair apart.", said)
        for word in ("tie", "=:", "95 %:", "Not told apart", "is lost"):
            self.assertNotIn(word, said)

    @figure
    def test_without_the_default(self):
        rows = self.eval("--formats", "tq4,tq8", model=BIAS, tokens=512)[1]
        self.assertEqual((rows["tq4"]["kl_less_default"], rows["tq4"]["tie"]), (None, False))
        said = self.said("--formats", "tq4,tq8", model=BIAS, tokens=512)
        self.assertIn("The default is not among these rows: nothing is said about it.", said)
        self.assertIn("The least mean KL of the compressed rows has tq8 (8.12 bits).", said)
        self.assertNotIn("*", said)


class Wrong(EvalTest):
    def wrong(self, status, pattern, *arguments, model=SWA):
        self.refused(status, pattern, "eval", "--model", model, *arguments)

    def test_names(self):
        for name, pattern in (("tq9", "no format 'tq9'; there are float32"), ("tq4+x", r"'\+x' is no suffix"),
                              ("tq4+centre+centre", "twice"), ("tq4+plain+matched", "more than one norm rule"),
                              ("float32+recent", "belong to tq formats"), ("q4_0+plain", "norm rules belong to tq formats"),
                              ("float16/tq4", "for keys and values alike"), ("tq4-v1+matched", "no norm rule"),
                              ("tq4-v1+centre", "no centre"), ("tq4+rotate", "rotate always"),
                              ("v-tq4+centre", "belongs to keys"), ("k-tq4/tq8", "name one side"),
                              ("tq4+recent=0", "1 or more"), ("tq4+recent=-1", "1 or more"),
                              ("tq4,,tq8", "missing"), ("x" * 200, "too long"),
                              ("default+sinks", "no format 'default'"), ("tq4+edge", r"'\+edge' is no suffix"),
                              ("tq4+edge=0", "a number of layers, 1 or more"),
                              ("tq4+edge=x", "a number of layers, 1 or more"),
                              ("tq4+edge=1+edge=2", r"'\+edge=2' is no suffix"),
                              ("q4_0+edge=1", "for tq formats on both sides"),
                              ("k-tq4+edge=1", "for tq formats on both sides")):
            self.wrong(2, pattern, "--formats", name)
        self.wrong(2, "not for this model: head_dim 128", "--formats", "tq6-v1", model=BIAS)
        self.wrong(2, "the name of one format each", "--k-format", "tq4+recent")

    def test_a_model_of_tokens_wants_tokens(self):
        self.wrong(1, "bytes, and tiny-llama has a vocabulary of 300; give its tokens", "--text", TEXT, "--tokens", "4",
                   model=TINY)
        self.wrong(1, "no-such: cannot open: No such file or directory", "--text", "no-such", "--tokens", "4", model=TINY)

    def test_a_window_cuts_recent_and_centre(self):
        """Layers 0 to 2 look back on 256 positions: more cannot be recent there, and the table says so."""
        names = ("tq4+recent=300", "tq4+centre=290+recent=300", "tq4+recent=256")
        done = self.eval_raw("--formats", ",".join(names), tokens=310)
        self.assertEqual(done.returncode, 0, done.stderr)
        for name in names[:2]:
            self.assertIn(f"# {name}: 256 positions at most where a layer's window is 256\n", done.stdout)
        self.assertNotIn(f"# {names[2]}:", done.stdout)
        rows = self.eval("--formats", ",".join(names), tokens=310)[1]
        self.assertEqual(rows[names[0]]["layer_recent"], [256, 256, 256, 300])
        self.assertEqual(rows[names[0]]["layer_centre"], [0] * 4)
        self.assertEqual(rows[names[1]]["layer_centre"], [64] * 4)
        self.assertEqual(rows[names[2]]["layer_recent"], [256] * 4)
        # All of a window in float16, and of the last layer the last 300; its first 10 are encoded.
        self.assertEqual(rows[names[0]]["cache_bytes"], 2 * (3 * 256 * 2 * 512 + 300 * 1024 + 10 * 258))

    def test_groups_leave_out_what_the_model_cannot(self):
        done = self.eval_raw("--formats", "all", "--json", model=BIAS, tokens=8)
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stderr, "tq8-v1, tq6-v1, tq5-v1, tq4-v1: not for this model: head_dim 128")
        self.assertRegex(done.stderr, r"tq4\+centre: 8 tokens stay in float16; nothing is encoded")
        names = [row["name"] for row in json.loads(done.stdout)["rows"]]
        self.assertNotIn("tq4-v1", names)
        for name in ("float32", "tq7", "k-tq4+centre", "tq4+unbiased", "q4_0+rotate", "default",
                     "tq6/tq4+centre+recent", "tq6/tq4+centre=all+recent+sinks", "tq6/tq4+recent+sinks"):
            self.assertIn(name, names)

    def test_short_window(self):
        self.assertRegex(self.eval_raw("--formats", "tq4", tokens=256).stderr, "256 tokens do not pass the window")
        self.assertEqual(self.eval_raw("--formats", "tq4", tokens=257).stderr, "")

    def test_text(self):
        self.write("short.txt", b"In the beginning")
        self.wrong(1, "short.txt: 16 tokens; --tokens 16 needs 17", "--text", "short.txt", "--tokens", "16")
        self.wrong(1, "gone.txt: cannot open: No such file", "--text", "gone.txt")
        self.write("model.safetensors", self.model())
        self.wrong(1, "^tqkv eval: kjv-heldout.txt: cannot open: No such file", model="model.safetensors")

    def model(self, size=None):
        with open(SWA, "rb") as file:
            return file.read(size)

    def test_model(self):
        self.write("cut.safetensors", self.model(100000))
        self.write("text.safetensors", b"In the beginning God created the heaven and the earth. " * 9)
        self.write_npy("k.npy", (2, 4, 64), [0.0] * 512)
        for name in ("cut.safetensors", "text.safetensors", "k.npy", "gone.safetensors"):
            self.wrong(1, "^tqkv eval: " + name, model=name)
        self.refused(2, "--model M.safetensors is missing", "eval")

    def test_numbers(self):
        for option in ("--tokens", "--context", "--threads"):
            self.wrong(2, f"{option}: 0 is not from 1", option, "0")
            self.wrong(2, f"{option}: '-1' is not a whole number", option, "-1")

    def test_folders(self):
        self.write("file", b"")
        for option in ("--report", "--dump"):
            self.wrong(1, "file: cannot make the folder", option, "file", "--tokens", "2", "--threads", "1",
                       "--formats", "float32")


class Dump(EvalTest):
    def dump(self, folder, model, tokens):
        self.eval("--formats", "float32", "--dump", folder, model=model, tokens=tokens)
        return {name: self.read_npy(f"{folder}/{name}") for name in os.listdir(self.path(folder))}

    def test_shapes(self):
        tensors = self.dump("out", SWA, 300)
        names = {f"layer{layer}-{which}.npy" for layer in range(4) for which in "qkv"}
        self.assertEqual(set(tensors), names)
        for name, (shape, values) in tensors.items():
            heads, dim = ((4 if "q" in name else 2), 256) if name[5] in "012" else ((2 if "q" in name else 1), 512)
            self.assertEqual(shape, (heads, 300, dim), name)
            self.assertTrue(all(map(math.isfinite, values)))
            self.assertGreater(sum(x * x for x in values), 1)

    def test_positions_stand_in_their_order(self):
        """A longer text begins as a shorter one, and keys of a biased model share most of themselves."""
        short, long = self.dump("short", BIAS, 20), self.dump("long", BIAS, 30)
        for name, (shape, values) in short.items():
            heads, _, dim = shape
            self.assertEqual(long[name][0], (heads, 30, dim))
            for head in range(heads):
                self.assertEqual(values[head * 20 * dim:(head + 1) * 20 * dim],
                                 long[name][1][head * 30 * dim:(head * 30 + 20) * dim])
        shape, keys = long["layer0-k.npy"]
        self.assertEqual(shape, (2, 30, 128))
        first = keys[:30 * 128]
        mean = [sum(first[d::128]) / 30 for d in range(128)]
        self.assertGreater(30 * sum(x * x for x in mean), 0.9 * sum(x * x for x in first))

    def test_attention_of_the_tensors_is_that_of_the_model(self):
        """Attended to in tq2 they lose what eval says that layer 0 loses, whose keys depend on no cache."""
        rows = self.eval("--formats", "tq2", "--dump", "out", model=BIAS, tokens=200)[1]
        scale = 128 ** -0.5
        for name, how in (("exact", ("out/layer0-k.npy", "out/layer0-v.npy")), ("tq2", ("k.st", "v.st"))):
            if name == "tq2":
                for side in "kv":
                    self.tqkv("encode", f"out/layer0-{side}.npy", "-o", f"{side}.st", "--format", "tq2")
            self.tqkv("attend", "--q", "out/layer0-q.npy", "--k", how[0], "--v", how[1], "-o", f"{name}.npy",
                      "--causal", "--scale", str(scale))
        error = self.json("compare", "exact.npy", "tq2.npy")["rel_mse"]
        self.assertTrue(math.isclose(error, rows["tq2"]["layer_error"][0], rel_tol=1e-3))


class Results(EvalTest):
    """The files of a run come into place together, or not at all."""

    def run_short(self, *options, **how):
        return self.run_raw("eval", "--model", BIAS, "--tokens", "40", "--threads", "1", "--formats", "float32",
                            *options, **how)

    def fails(self, pattern, *options, **how):
        before = self.files()
        done = self.run_short(*options, **how)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, pattern)
        self.assertEqual(self.files(), before)
        return done

    def test_a_failure_leaves_neither_files_nor_folders(self):
        options = ("--dump", "dumped", "--report", "told")
        self.write("file", b"")
        self.fails("file: cannot make the folder", "--dump", "dumped", "--report", "file")
        with open("/dev/full", "w", encoding="ascii") as full:
            self.fails("standard output: No space left", *options, stdout=full)

        def small_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000))
        self.fails(r"told/index\.html|dumped/layer0-q\.npy: cannot write: File too large", *options,
                   preexec_fn=small_files)

    def test_a_failure_leaves_old_files(self):
        os.makedirs(self.path("dumped/layer3-v.npy"))
        self.write("dumped/layer0-q.npy", b"before")
        done = self.fails("layer3-v.npy: is a folder", "--dump", "dumped")
        self.assertEqual(done.stdout, "")
        self.assertEqual(sorted(os.listdir(self.path("dumped"))), ["layer0-q.npy", "layer3-v.npy"])
        self.assertEqual(self.read("dumped/layer0-q.npy"), b"before")

    def test_a_report_that_cannot_be_written_is_known_before_the_work(self):
        os.makedirs(self.path("told/index.html"))
        spent = []
        for wanted in (("--dump", "d"), ("--dump", "d", "--report", "told")):
            begun = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            done = self.eval_raw("--formats", "tq4,tq2", *wanted, tokens=200)
            self.assertEqual(done.returncode, 1 if "told" in wanted else 0, done.stderr)
            spent.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - begun)
        self.assertRegex(done.stderr, "told/index.html: is a folder")
        self.assertLess(spent[1], spent[0] / 2)

    def test_a_planted_link_is_not_written_through(self):
        os.mkdir(self.path("told"))
        self.write("victim", b"before")
        os.symlink("../victim", self.path("told/.index.html.part"))
        self.assertEqual(self.run_short("--report", "told").returncode, 0)
        self.assertEqual(self.read("victim"), b"before")
        self.assertEqual(sorted(os.listdir(self.path("told"))), [".index.html.part", "index.html"])

    def test_a_signal_takes_folders_along(self):
        for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGXCPU):
            with subprocess.Popen([TQKV, "eval", "--model", BIAS, "--threads", "1", "--dump", "dumped", "--report",
                                   "told"], cwd=self.folder, stdout=subprocess.PIPE, preexec_fn=lambda:
                                  resource.setrlimit(resource.RLIMIT_CORE, (0, 0))) as process:
                while process.poll() is None and "told" not in self.files():
                    time.sleep(0.001)
                process.send_signal(number)
                self.assertEqual(process.wait(60), -number)
            self.assertEqual(self.files(), [])


class Report(EvalTest):
    page = None  # of all tests: it takes some seconds

    def setUp(self):
        super().setUp()
        if Report.page is None:
            done = self.eval_raw("--formats", "main,tq4+centre+recent,tq8-v1,v-tq4", "--report", "out", tokens=300)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("# report: out/index.html", done.stdout)
            self.assertEqual(os.listdir(self.path("out")), ["index.html"])
            Report.page = self.read("out/index.html").decode()

    def test_it_stands_alone(self):
        for word in ("<script", "http", "src=", "@import", "url(", "nan", "inf\"", "-0.0<"):
            self.assertNotIn(word, self.page)
        self.assertIn("prefers-color-scheme:dark", self.page)

    def test_the_default_is_marked_and_words_are_explained(self):
        self.assertEqual(self.page.count('<tr class="usual"><td class="name usual">default *</td>'), 2)
        for word in ("KL", "same top %", "perplexity, change %", "bits a value, KiB", "cosine mean, p1", "+centre",
                     "+recent, +sinks", "+rotate", "+edge=N", "from, to; interval", "=, tie"):
            self.assertIn(f"<dt>{word}</dt>", self.page)
        said = re.findall(r'<p class="said">(.*?)</p>', self.page)
        self.assertEqual(len(said), 7)  # three tables, four pictures
        self.assertRegex(said[0], "^The default changes the perplexity by ")
        self.assertRegex(said[3], "^(Nothing drawn here is|Smaller than the default)")
        self.assertRegex(said[6], "^After 300 tokens the default takes ")

    def test_every_figure_has_its_label(self):
        """On a narrow screen a row is a card, and headings are out of sight."""
        for table in re.findall(r"<table>.*?</table>", self.page, re.S):
            headings = re.findall(r"<th>(.*?)</th>", table)
            for row in re.findall(r"<tr.*?</tr>", table.split("<tbody>")[1]):
                self.assertEqual(re.findall('data-label="(.*?)"', row), headings)

    def test_pictures(self):
        pictures = re.findall(r"<svg .*?</svg>", self.page, re.S)
        self.assertEqual(len(pictures), 4)
        for picture in pictures:
            root = xml.fromstring(picture)
            width, height = map(float, root.get("viewBox").split()[2:])
            titles = [x.text for x in root.iter("text") if x.get("class") == "title"]
            self.assertIn(len(titles), (1, 2))
            for dot in root.iter("circle"):
                self.assertTrue(0 < float(dot.get("cx")) < width and 0 < float(dot.get("cy")) < height)
            self.check_labels(root, width)
        for name in ("tq4+centre+recent", "tq8-v1", "q4_0+rotate", "v-tq4"):
            self.assertIn(f">{name}</text>", pictures[1])

    def check_labels(self, root, width):
        """None covers another, at the width that browsers' faces have, or leaves the picture, at that of wide ones."""
        boxes = []
        for label in root.iter("text"):
            if label.get("class").startswith("label"):
                length, x, y = 6.6 * len(label.text), float(label.get("x")), float(label.get("y"))
                left = x - length if label.get("text-anchor") == "end" else x
                widest = 7.7 * len(label.text)
                self.assertTrue(x >= widest if left < x else x + widest <= width, label.text)
                boxes.append((label.text, left, left + length, y - 9, y + 2))
        self.assertGreater(len(boxes), 8)
        for i, (name, left, right, top, bottom) in enumerate(boxes):
            for other, left2, right2, top2, bottom2 in boxes[:i]:
                apart = right <= left2 or right2 <= left or bottom <= top2 or bottom2 <= top
                self.assertTrue(apart, (name, other))

    @unittest.skipUnless(BROWSER, "no browser is installed")
    def test_in_a_browser(self):
        with tempfile.TemporaryDirectory(prefix="tqkv-browser-") as profile:
            common = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir=" + profile]
            self.write("index.html", self.page.encode())
            page = "file://" + self.path("index.html")
            seen = subprocess.run([*common, "--dump-dom", page], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                  text=True, timeout=120, check=True).stdout
            self.assertEqual(seen.count("<svg"), 4)
            self.assertEqual(seen.count("<tr"), self.page.count("<tr"))
            for width in ("1200", "500"):
                subprocess.run([*common, f"--window-size={width},2400", "--screenshot=" + self.path("page.png"), page],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120, check=True)
                picture = self.read("page.png")
                self.assertEqual(picture[:8], b"\x89PNG\r\n\x1a\n")
                self.assertEqual(int.from_bytes(picture[16:20], "big"), int(width))
                self.assertGreater(len(picture), 50000)


class Documented(EvalTest):
    def test_documented(self):
        self.check_documented("eval")


main()
