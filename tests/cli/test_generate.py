# SPDX-License-Identifier: MIT
"""generate: text from a prompt, the same for a seed, with any cache; wrong use."""
import os
import re

from support import CommandTest, main

MODELS = os.path.join(os.environ["TQKV_SOURCE"], "models")
SWA = os.path.join(MODELS, "kjv-swa.safetensors")
BIAS = os.path.join(MODELS, "kjv-bias.safetensors")
PROMPT = "And the LORD said unto "


class Generate(CommandTest):
    def generate(self, *options, model=SWA, n=40, prompt=PROMPT):
        done = self.run_raw("generate", "--model", model, "--prompt", prompt, "-n", str(n), "--threads", "1", *options,
                            errors="replace")
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout, done.stderr

    def test_text(self):
        text, note = self.generate("--k-format", "tq4")
        self.assertTrue(text.startswith(PROMPT))
        self.assertEqual(len(text), len(PROMPT) + 40 + 1)
        self.assertTrue(text.endswith("\n"))
        self.assertEqual(len(note.splitlines()), 1)
        figures = re.fullmatch(r"tqkv generate: note: tq4: (\d+) bytes of cache for (\d+) tokens, (\d\.\d{3}) bits a "
                               r"value; (\d+) tokens a second\n", note)
        n = len(PROMPT) + 40
        size = 2 * (3 * 2 * 130 + 258) * n
        self.assertEqual([int(figures[1]), int(figures[2])], [size, n])
        self.assertEqual(figures[3], f"{8 * size / (4096 * n):.3f}")

    def test_standard_output_is_full(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            self.refused(1, "standard output: No space left", "generate", "--model", BIAS, "--prompt", PROMPT, "-n", "2",
                         stdout=full)

    def test_seeds(self):
        text = self.generate("--seed", "7")[0]
        self.assertEqual(text, self.generate("--seed", "7")[0])
        self.assertNotEqual(text, self.generate("--seed", "8")[0])
        self.assertEqual(self.generate()[0], self.generate("--seed", "1")[0])

    def test_the_likeliest_byte(self):
        likeliest = self.generate("--temperature", "0", "--k-format", "float32")[0]
        self.assertEqual(likeliest, self.generate("--temperature", "0", "--seed", "5", "--k-format", "float32")[0])
        self.assertEqual(likeliest, self.generate("--temperature", "0", "--k-format", "tq8")[0])
        self.assertNotEqual(likeliest, self.generate("--temperature", "2", "--k-format", "float32")[0])

    def test_caches(self):
        for options, name in ((("--k-format", "tq8", "--v-format", "tq4"), "tq8/tq4"), (("--v-format", "tq3"), "tq3"),
                              (("--k-format", "tq6-v1"), "tq6-v1"),
                              (("--center", "--recent", "32", "--sinks", "2"), "tq6/tq4+centre+recent=32+sinks=2"),
                              ((), "tq6/tq4+centre+recent+sinks"), (("--format", "default"), "tq6/tq4+centre+recent+sinks"),
                              (("--format", "q8_0+rotate"), "q8_0+rotate")):
            self.assertIn(f"note: {name}: ", self.generate(*options)[1])

    def test_the_answer_alone(self):
        whole = self.generate()[0]
        self.assertEqual(PROMPT + self.generate("--answer")[0], whole)

    def test_a_window_passes(self):
        text, note = self.generate("--k-format", "tq4", n=300)
        self.assertEqual(len(text), len(PROMPT) + 301)
        self.assertIn(f" {2 * (3 * 2 * 130 * 256 + 258 * (len(PROMPT) + 300))} bytes of cache", note)

    def test_a_window_cuts_recent(self):
        done = self.run_raw("generate", "--model", SWA, "--prompt", PROMPT, "-n", "2", "--recent", "300")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("recent=300: 256 positions at most where a layer's window is 256\n", done.stderr)

    def test_nothing_that_a_terminal_obeys(self):
        text = self.generate("--temperature", "100", n=200, prompt="a\x1bb\x07\tc\n")[0]
        self.assertTrue(text.startswith("a?b?\tc\n"))
        for code in [*range(9), *range(11, 32), 127]:
            self.assertNotIn(chr(code), text)

    def test_wrong(self):
        def wrong(status, pattern, *arguments, model=SWA, prompt=PROMPT):
            self.refused(status, pattern, "generate", "--model", model, "--prompt", prompt, *arguments)

        wrong(2, "one of --prompt TEXT", prompt="")
        wrong(2, "--tokens: 0 is not from 1", "-n", "0")
        wrong(2, "--temperature: -1 is not", "--temperature", "-1")
        wrong(2, "--temperature: nan is not", "--temperature", "nan")
        wrong(2, "no format 'tq9'", "--k-format", "tq9")
        wrong(2, "no format 'tq9'", "--format", "tq9+recent")
        wrong(2, "too long for a name", "--format", "tq4" + 40 * "+recent")
        wrong(2, "--format names the whole cache, 'tq4'; .* 'tq6/tq4\\+sinks=2'", "--format", "tq4", "--sinks", "2")
        wrong(2, "not for this model: head_dim 128", "--k-format", "tq4-v1", model=BIAS)
        wrong(2, "v1 formats have no centre", "--k-format", "tq4-v1", "--center")
        wrong(1, "^tqkv generate: gone.safetensors", model="gone.safetensors")
        self.refused(2, "--model M.safetensors is missing", "generate", "--prompt", "a")
        self.refused(2, "one of --prompt TEXT", "generate", "--model", SWA)

    def test_documented(self):
        self.check_documented("generate")


main()
