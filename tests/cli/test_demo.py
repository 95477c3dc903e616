# SPDX-License-Identifier: MIT
"""The demo, on the language models and on given tensors. Skipped where gnuplot is missing."""
import os
import shutil
import subprocess
import sys

from support import V1_FORMATS, V2_FORMATS, CommandTest, gaussian, main

if shutil.which("gnuplot") is None:
    print("skipped: gnuplot is missing")
    sys.exit(77)

SOURCE = os.environ["TQKV_SOURCE"]
DEMO = os.path.join(SOURCE, "scripts", "demo")


class Demo(CommandTest):
    def demo(self, *arguments, status=0):
        environment = {k: v for k, v in os.environ.items() if k not in ("K", "V", "MODEL")}
        environment["OUT"] = self.path("out folder")
        environment["TOKENS"] = "130"
        done = subprocess.run([DEMO, *arguments], cwd=self.folder, env=environment, text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=280)
        self.assertEqual(done.returncode, status, done.stderr)
        return done

    def check_plot(self):
        picture = self.read("out folder/error-by-bits.png")
        self.assertEqual(picture[:8], b"\x89PNG\r\n\x1a\n")
        self.assertGreater(len(picture), 10000)

    def formats_in(self, name):
        lines = self.read(f"out folder/{name}.txt").decode().splitlines()
        self.assertTrue(lines[0].startswith("# "))
        names = [line.split()[0] for line in lines[2:] if line and not line.startswith("#")]
        self.assertEqual(names[-2:], ["default", "default"])
        return names[:-2]

    def test_the_story(self):
        """What the default costs, what goes wrong without its helpers, what memory it saves, in this order."""
        done = self.demo()
        parts = done.stdout.split("== ")[1:]
        self.assertEqual([part.split(":")[0].split(",")[0] for part in parts],
                         ["What the default costs", "What goes wrong without its helpers (centre",
                          "Memory against context"])
        costs, helpers, memory = parts
        self.assertIn("# kjv-swa on ", costs)
        self.assertRegex(costs, r"(?m)^default \* +\d")
        self.assertRegex(costs, r"(?m)^# The default changes the perplexity by ")
        self.assertIn("# kjv-bias on ", helpers)
        for name in (r"default \*", "tq4", r"tq4\+centre\+recent\+sinks", r"q4_0\+rotate\+recent\+sinks"):
            self.assertRegex(helpers, rf"(?m)^{name} +\d")
        self.assertEqual(memory.count("times less."), 2)
        self.assertRegex(memory, r"(?m)^default +258\.7 +980\.6 +3455\.6$")
        for page in ("report", "report-helpers"):
            self.assertIn(self.path(f"out folder/{page}/index.html"), done.stdout)
            self.assertIn(b"</html>", self.read(f"out folder/{page}/index.html"))

    def test_the_arithmetic_of_memory(self):
        """The table's sums are the bytes of a cache that is there."""
        names = "float16,q8_0,tq8,default,tq5+centre=100+recent=70+sinks=3"
        for name in ("kjv-swa", "kjv-bias"):
            model = os.path.join(SOURCE, "models", name + ".safetensors")
            rows = self.json("eval", "--model", model, "--tokens", "361", "--formats", names)["rows"]
            lines = subprocess.run([os.path.join(SOURCE, "scripts", "cache-memory"), model, "--tokens", "361",
                                    "--bytes", "--formats", names], stdout=subprocess.PIPE, text=True, check=True).stdout
            self.assertEqual([line.split() for line in lines.splitlines()],
                             [[row["name"], str(row["cache_bytes"])] for row in rows[1:]])

    def test_given(self):
        self.write_npy("my k.npy", (2, 40, 64), gaussian(2 * 40 * 64))
        self.write_npy("v.npy", (2, 40, 256), gaussian(2 * 40 * 256))
        done = self.demo("K=my k.npy", "V=v.npy")
        self.assertNotIn("kjv", done.stdout)
        self.assertRegex(done.stdout, r"(?m)^tq3 ")
        self.assertRegex(done.stderr, "my k.npy: v1 formats are left out: they serve")
        self.assertEqual(self.formats_in("k"), V2_FORMATS)
        self.assertEqual(self.formats_in("v"), V2_FORMATS + V1_FORMATS)
        self.check_plot()

    def test_refused(self):
        self.assertIn("not understood", self.demo("k.npy", status=2).stderr)
        self.assertIn("gone.npy", self.demo("K=gone.npy", status=1).stderr)
        self.assertIn("not both", self.demo("K=k.npy", "MODEL=smollm2", status=2).stderr)
        self.assertIn("'models/get no-such' fetches it", self.demo("MODEL=no-such", status=1).stderr)


main()
