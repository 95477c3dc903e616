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

DEMO = os.path.join(os.environ["TQKV_SOURCE"], "scripts", "demo")


class Demo(CommandTest):
    def demo(self, *arguments, status=0):
        environment = {k: v for k, v in os.environ.items() if k not in ("K", "V")}
        environment["OUT"] = self.path("out folder")
        environment["TOKENS"] = "280"
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

    def test_captured(self):
        done = self.demo()
        self.assertIn("# kjv-swa on ", done.stdout.splitlines()[0])
        for name in ("swa-k", "swa-v"):
            self.assertEqual(self.formats_in(name), V2_FORMATS + V1_FORMATS)
        for name in ("bias-k", "bias-k-centred"):
            self.assertEqual(self.formats_in(name), V2_FORMATS)
        self.assertRegex(done.stdout, r"(?m)^tq8-v1 ")
        self.assertNotRegex(done.stdout, r"(?m)^tq3 +\d\.\d+ +\d\.\d+e-\d+ +\d\.\d{4} ")  # the tables are short
        self.check_plot()
        report = self.path("out folder/report/index.html")
        self.assertEqual(done.stdout.splitlines()[-1], "Report: " + report)
        self.assertIn(b"</html>", self.read("out folder/report/index.html"))

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


main()
