# SPDX-License-Identifier: MIT
"""Wrong use ends with status 2, a word about what is wrong, and no file."""
from support import CommandTest, gaussian, main


class Usage(CommandTest):
    def setUp(self):
        super().setUp()
        self.write_npy("x.npy", (2, 5, 64), gaussian(2 * 5 * 64))
        self.write_npy("wide.npy", (2, 5, 256), gaussian(2 * 5 * 256))

    def misused(self, pattern, *arguments):
        self.refused(2, pattern, *arguments)

    def encode(self, pattern, *options, source="x.npy"):
        self.misused(pattern, "encode", source, "-o", "out.st", *options)

    def test_commands(self):
        done = self.run_raw()
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("Usage: tqkv COMMAND", done.stderr)
        self.misused("no command 'encod'.*\nTry 'tqkv --help'", "encod")
        self.misused("no command ''", "")
        self.misused("no command '--jsn'", "--jsn")

    def test_operands(self):
        for command in ("encode", "decode", "info", "sweep", "requantize"):
            self.misused(f"tqkv {command}: a file name is missing", command)
        self.misused("a file name is missing", "compare", "x.npy")
        self.misused("'third' is one argument too many", "compare", "x.npy", "x.npy", "third")
        self.misused("'y.npy' is one argument too many", "info", "x.npy", "y.npy")
        self.misused("'4' is one argument too many", "codebook", "--bits", "4", "4")

    def test_unknown_and_incomplete_options(self):
        self.misused("--nope: unknown option", "info", "x.npy", "--nope")
        self.misused("-z: unknown option", "info", "x.npy", "-z")
        self.misused("-o: missing argument", "decode", "x.npy", "-o")
        self.misused("--json", "info", "x.npy", "--json=yes")
        self.misused("--json is given twice", "info", "x.npy", "--json", "--json")
        self.misused("--output is given twice", "decode", "x.st", "-o", "a", "--output", "b")

    def test_missing_options(self):
        self.misused("-o OUT.safetensors is missing", "encode", "x.npy", "--format", "tq4")
        self.misused("--format is missing", "encode", "x.npy", "-o", "out.st")
        self.misused("-o OUT.npy is missing", "decode", "x.st")
        self.misused("-o OUT.npy is missing", "requantize", "x.npy", "--bits", "4")
        self.misused("--bits N is missing", "requantize", "x.npy", "-o", "out.npy")
        self.misused("--bits N is missing", "codebook")

    def test_encode_values(self):
        self.encode("--format: 'tq9' is none", "--format", "tq9")
        self.encode("--format: 'TQ4' is none", "--format", "TQ4")
        self.encode("--norm: no norm rule 'best': there are plain", "--format", "tq4", "--norm", "best")
        for text in ("many", "-1", "1e3", "", " 7", "99999999999999999999"):
            self.encode("--capacity: '.*' is not a whole number", "--format", "tq4", "--capacity", text)
        self.encode("--capacity: a cache of 0 positions", "--format", "tq4", "--capacity", "0")
        self.encode("--ring needs --capacity", "--format", "tq4", "--ring")

    def test_encode_names(self):
        """What a file can keep of a cache's name; the rest is told where it goes."""
        self.encode("'tq6/tq4' keeps keys and values in two formats, .*: encode keys with --format tq6 and values "
                    "with --format tq4", "--format", "tq6/tq4")
        self.encode("'default' keeps .* encode keys with --format tq6.centre and values with --format tq4",
                    "--format", "default")
        for name in ("tq4+recent", "tq4+centre+sinks=2"):
            self.encode("a file holds codes alone: leave .recent and .sinks away", "--format", name)
        self.encode("--center: 'tq4.centre' has a centre of its own", "--format", "tq4+centre", "--center", "mean")
        self.encode("--norm: 'tq4.plain' has a norm rule of its own", "--format", "tq4+plain", "--norm", "matched")
        self.encode("'q8_0.rotate': keys and values in tq formats are wanted here", "--format", "q8_0+rotate")
        self.encode("'tq4.nonsense': ", "--format", "tq4+nonsense")
        self.write_npy("long.npy", (2, 300, 64), gaussian(2 * 300 * 64))
        for name, options in (("tq6+centre", ("--center", "learn")), ("tq4/tq4+unbiased", ("--norm", "unbiased")),
                              ("tq4+centre=all", ("--center", "learn", "--center-stretch", "all")),
                              ("tq5+plain+centre=70", ("--center", "learn", "--center-stretch", "70", "--norm", "plain"))):
            self.tqkv("encode", "long.npy", "-o", "a.st", "--format", name)
            self.tqkv("encode", "long.npy", "-o", "b.st", "--format", name[:3], *options)
            self.assertEqual(self.read("a.st"), self.read("b.st"), name)

    def test_options_that_would_do_nothing(self):
        self.encode("--scale-factor-d512 belongs to the v1 formats", "--format", "tq4",
                    "--scale-factor-d512", "2")
        self.encode("--scale-factor-d512: the head dimension of wide.npy is 256, not 512", "--format",
                    "tq4-v1", "--scale-factor-d512", "2", source="wide.npy")

    def test_what_v1_does_not_know(self):
        self.encode("v1 formats have no centre", "--format", "tq4-v1", "--center", "mean", source="wide.npy")
        for rule in ("matched", "unbiased"):
            self.encode("norm", "--format", "tq4-v1", "--norm", rule, source="wide.npy")

    def test_scale_factors(self):
        self.write_npy("x512.npy", (1, 2, 512), gaussian(1024))
        for text in ("0", "-1", "inf", "nan", "1e-60", "1e60", "one", "1x", ""):
            with self.subTest(text=text):
                self.encode("scale", "--format", "tq4-v1", f"--scale-factor-d512={text}", source="x512.npy")

    def test_codebooks(self):
        for bits in ("1", "9", "0", "4294967300", "104"):
            self.misused("--bits: .* is no size of a v2 codebook", "codebook", "--bits", bits)
        for bits in ("2", "3", "7"):
            self.misused("--bits: .* is no size of a v1 codebook", "codebook", "--bits", bits,
                         "--codebook", "v1")
        self.misused("--bits: 'four' is not a whole number", "codebook", "--bits", "four")
        self.misused("--codebook: 'v3' is none", "codebook", "--bits", "4", "--codebook", "v3")

    def test_centres(self):
        self.misused("--center: 'median' is none; there are mean and learn", "sweep", "x.npy", "--center", "median")
        self.write_npy("c.npy", (2, 64), gaussian(2 * 64))
        for command in (("sweep", "x.npy"), ("encode", "x.npy", "-o", "out.st", "--format", "tq4")):
            self.misused("--center-stretch does nothing without --center", *command, "--center-stretch", "8")
            self.misused("--center-stretch: 0 positions", *command, "--center", "mean", "--center-stretch", "0")
            self.misused("--center-stretch: 'some' is not a whole number", *command, "--center", "learn",
                         "--center-stretch", "some")
        self.encode("--center-stretch does nothing with a file", "--format", "tq4", "--center", "c.npy",
                    "--center-stretch", "8")


main()
