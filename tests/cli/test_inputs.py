# SPDX-License-Identifier: MIT
"""Files that come once: every command takes its inputs through pipes as it takes them from a disk."""
import contextlib
import os
import subprocess
import threading

from support import TQKV, CommandTest, gaussian, main

MODELS = os.path.join(os.environ["TQKV_SOURCE"], "models")


class Inputs(CommandTest):
    def setUp(self):
        super().setUp()
        self.write_npy("x.npy", (2, 300, 64), gaussian(2 * 300 * 64))  # more than a pipe holds
        self.write_npy("q.npy", (4, 3, 64), gaussian(4 * 3 * 64, seed=2))
        self.write_npy("centre.npy", (2, 64), gaussian(2 * 64, seed=3))
        self.tqkv("encode", "x.npy", "-o", "x.st", "--format", "tq4")

    def feed(self, name):
        """A FIFO that gives the file to the first who opens it, and to nobody else."""
        os.mkfifo(self.path(name + ".fifo"))

        def write():
            with contextlib.suppress(BrokenPipeError), open(self.path(name + ".fifo"), "wb") as pipe:
                pipe.write(self.read(name))  # eval reads the start of a text

        threading.Thread(target=write, daemon=True).start()
        return name + ".fifo"

    def run_both(self, arguments, outputs=()):
        """Once with files, once with FIFOs for those in brackets: status, text and outputs are the same."""
        seen = []
        for feed in (lambda name: name, self.feed):
            call = [feed(a[0]) if isinstance(a, list) else a for a in arguments]
            done = subprocess.run([TQKV, *call], cwd=self.folder, stdin=subprocess.DEVNULL, text=True, check=False,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20)
            self.assertEqual(done.returncode, 0, done.stderr)
            text = done.stderr if arguments[0] == "eval" else done.stdout + done.stderr  # eval tells speeds
            seen.append((text.replace(".fifo", "").split(), [self.read(name) for name in outputs]))
            for name in [*outputs, *(name for name in self.files() if name.endswith(".fifo"))]:
                os.remove(self.path(name))
        self.assertEqual(seen[0], seen[1], arguments)

    def test_plain_tensors(self):
        self.run_both(("encode", ["x.npy"], "-o", "o.st", "--format", "tq3", "--center", ["centre.npy"]), ("o.st",))
        self.run_both(("info", ["x.npy"]))
        self.run_both(("info", ["x.npy"], "--json"))
        self.run_both(("compare", ["x.npy"], "x.npy"))
        self.run_both(("compare", "x.npy", ["x.npy"]))
        self.run_both(("encode", ["x.npy"], "-o", "o.st", "--format", "tq3", "--center", "learn"), ("o.st",))
        self.run_both(("sweep", ["x.npy"], "--center", "mean", "--json"))
        self.run_both(("requantize", ["x.npy"], "-o", "o.npy", "--bits", "4"), ("o.npy",))

    def test_encoded_tensors(self):
        self.run_both(("decode", ["x.st"], "-o", "o.npy"), ("o.npy",))
        self.run_both(("info", ["x.st"]))
        self.run_both(("info", ["x.st"], "--json"))

    def test_attention(self):
        self.write("y.npy", self.read("x.npy"))
        self.write("y.st", self.read("x.st"))
        for k, v in (("x.npy", "y.st"), ("x.st", "y.npy"), ("x.st", "y.st"), ("x.npy", "y.npy")):
            self.run_both(("attend", "--q", ["q.npy"], "--k", [k], "--v", [v], "-o", "o.npy"), ("o.npy",))

    def test_models(self):
        with open(os.path.join(MODELS, "kjv-bias.safetensors"), "rb") as file:
            self.write("model", file.read())
        with open(os.path.join(MODELS, "kjv-heldout.txt"), "rb") as file:
            self.write("text", file.read())
        self.run_both(("eval", "--model", ["model"], "--text", ["text"], "--tokens", "4", "--formats", "tq8",
                       "--dump", "out"), ("out/layer0-k.npy",))
        done = self.run_raw("generate", "--model", self.feed("model"), "--prompt", "And", "-n", "2")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_standard_input(self):
        for name in ("x.npy", "x.st"):
            done = subprocess.run([TQKV, "info", "/dev/stdin"], cwd=self.folder, input=self.read(name), check=False,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20)
            self.assertEqual((done.returncode, done.stderr), (0, b""))
            self.assertEqual(done.stdout.decode().replace("/dev/stdin", name).split(), self.tqkv("info", name).split())

    def test_devices_are_refused_by_all(self):
        for arguments in (("info", "/dev/zero"), ("encode", "/dev/zero", "-o", "o.st", "--format", "tq4"),
                          ("attend", "--q", "q.npy", "--k", "/dev/zero", "--v", "x.npy", "-o", "o.npy"),
                          ("eval", "--model", os.path.join(MODELS, "kjv-bias.safetensors"), "--text", "/dev/zero"),
                          ("generate", "--model", "/dev/zero", "--prompt", "x")):
            self.refused(1, "/dev/zero: is a device: a regular file or a pipe is expected", *arguments)


main()
