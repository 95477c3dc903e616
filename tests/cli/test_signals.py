# SPDX-License-Identifier: MIT
"""Signals in the middle of work leave no temporary file and the old output, and end the process as signals do."""
import os
import resource
import signal
import subprocess
import time

from support import TQKV, CommandTest, main, npy_bytes

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGXCPU,
           signal.SIGXFSZ, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGUSR1, signal.SIGUSR2)


def no_core():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Signals(CommandTest):
    def setUp(self):
        super().setUp()
        # 16 MiB of zeros, enough for writing them out to take a while.
        self.write("x.npy", npy_bytes((1, 16384, 256), []) + bytes(16384 * 256 * 4))
        self.write("small.npy", npy_bytes((1, 16, 64), [0.5] * 1024))
        for name in ("y", "lse"):
            self.write(name, b"before")
        self.there = self.files()

    def start(self, *arguments, prepare=no_core, **options):
        return subprocess.Popen([TQKV, *arguments], cwd=self.folder, stderr=subprocess.DEVNULL, preexec_fn=prepare,
                                **options)

    def check(self):
        self.assertEqual(self.files(), self.there)
        for name in ("y", "lse"):
            self.assertEqual(self.read(name), b"before")

    def temporaries(self, *names):
        """Sizes of the temporary files of these outputs; shorter than names while some are not there."""
        return [os.path.getsize(self.path(file)) for name in names for file in self.files()
                if file.startswith(f".{name}.")]

    def stopped(self, process, names, filled):
        """Stops the process when temporary files are there (and filled); False if it ends before that."""
        while process.poll() is None:
            sizes = self.temporaries(*names)
            if len(sizes) == len(names) and (not filled or all(sizes)):
                process.send_signal(signal.SIGSTOP)
                os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
                return len(self.temporaries(*names)) == len(names) and self.read(names[0]) == b"before"
            time.sleep(0.0003)
        return False

    def interrupt(self, number, names, filled, *arguments):
        for _ in range(20):
            with self.start(*arguments) as process:
                if self.stopped(process, names, filled):
                    process.send_signal(number)
                    process.send_signal(signal.SIGCONT)
                    self.assertEqual(process.wait(60), -number)
                    self.check()
                    return
                process.send_signal(signal.SIGCONT)
                self.assertEqual(process.wait(60), 0)
            for name in names:
                self.write(name, b"before")
        self.fail("it was never seen at work")

    def test_while_writing(self):
        for number in SIGNALS:
            self.interrupt(number, ["y"], True, "requantize", "x.npy", "-o", "y", "--bits", "8")

    def test_while_working(self):
        for number in SIGNALS:
            self.interrupt(number, ["y", "lse"], False, "attend", "--q", "small.npy", "--k", "x.npy", "--v", "x.npy",
                           "-o", "y", "--lse", "lse")

    def test_a_file_grows_too_large(self):
        def limit():
            no_core()
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        with self.start("requantize", "x.npy", "-o", "y", "--bits", "8", prepare=limit) as process:
            self.assertEqual(process.wait(60), -signal.SIGXFSZ)
        self.check()

    def test_nobody_reads_what_is_printed(self):
        reader, writer = os.pipe()
        os.close(reader)
        with self.start("encode", "small.npy", "-o", "y", "--format", "tq4", stdout=writer) as process:
            os.close(writer)
            self.assertEqual(process.wait(60), -signal.SIGPIPE)
        self.check()

    def test_at_once(self):
        with self.start("requantize", "x.npy", "-o", "y", "--bits", "8") as process:
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(60), -signal.SIGTERM)
        self.check()

    def test_ignored_signals_stay_ignored(self):
        with self.start("requantize", "x.npy", "-o", "y", "--bits", "8",
                        prepare=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as process:
            for _ in range(5):
                process.send_signal(signal.SIGHUP)
                time.sleep(0.002)
            self.assertEqual(process.wait(60), 0)
        self.assertEqual(self.files(), self.there)
        self.assertNotEqual(self.read("y"), b"before")


main()
