# SPDX-License-Identifier: MIT
"""Signals in the middle of work leave no temporary file, and end the process as signals do."""
import os
import signal
import subprocess
import time

from support import TQKV, CommandTest, main, npy_bytes


class Signals(CommandTest):
    def setUp(self):
        super().setUp()
        # 16 MiB of zeros, enough for writing them out to take a while.
        self.write("x.npy", npy_bytes((1, 16384, 256), []) + bytes(16384 * 256 * 4))

    def start(self, **options):
        return subprocess.Popen([TQKV, "requantize", "x.npy", "-o", "y.npy", "--bits", "8"], cwd=self.folder,
                                stderr=subprocess.DEVNULL, **options)

    def interrupt(self, number, delay):
        """Sends the signal once a temporary file shows (and a delay more), unless writing ends first."""
        with self.start() as process:
            while process.poll() is None and self.files() == ["x.npy"]:
                time.sleep(0.0005)
            time.sleep(delay)
            process.send_signal(number)
            status = process.wait(60)
        self.assertIn(status, (0, -number))
        self.assertEqual(self.files(), ["x.npy"] if status else ["x.npy", "y.npy"])
        if status == 0:
            os.remove(self.path("y.npy"))
        return status

    def test_while_writing(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            for delay in (0.0, 0.001, 0.004, 0.016):
                self.interrupt(number, delay)

    def test_before_writing(self):
        with self.start() as process:
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(60), -signal.SIGTERM)
        self.assertEqual(self.files(), ["x.npy"])

    def test_ignored_signals_stay_ignored(self):
        with self.start(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as process:
            for _ in range(5):
                process.send_signal(signal.SIGHUP)
                time.sleep(0.002)
            self.assertEqual(process.wait(60), 0)
        self.assertEqual(self.files(), ["x.npy", "y.npy"])


main()
