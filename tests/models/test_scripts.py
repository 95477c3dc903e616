# SPDX-License-Identifier: MIT
"""get and chat on wrong use and with nothing fetched: a line that says what to do."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import support


class Scripts(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tqkv-models-")
        self.addCleanup(folder.cleanup)
        self.tree = pathlib.Path(folder.name)
        (self.tree / "models").mkdir()
        for path in [*support.MODELS.glob("*.py"), support.MODELS / "get", support.MODELS / "chat"]:
            shutil.copy(path, self.tree / "models")

    def refused(self, status, pattern, script, *arguments, built=False, **variables):
        done = subprocess.run([sys.executable, str(self.tree / "models" / script), *arguments],
                              env={**os.environ, **variables}, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertRegex(done.stderr, pattern)
        self.assertNotIn("Traceback", done.stderr)
        self.assertEqual((self.tree / "build").exists(), built)

    def test_get(self):
        self.refused(2, "invalid choice: 'llama'.*smollm2.*qwen2.5.*gemma3", "get", "llama")

    def test_chat(self):
        self.refused(2, "invalid choice: 'llama'", "chat", "llama", "a")
        self.refused(2, "required: prompt", "chat", "smollm2")
        self.refused(1, r"^chat: .*nowhere is missing: run make first$", "chat", "smollm2", "a", TQKV="nowhere")
        self.refused(1, r"^chat: .*qwen2.5/model.safetensors is missing: run models/get qwen2.5 first$", "chat",
                     "qwen2.5", "a", TQKV=sys.executable)
        self.refused(1, "^chat: 'a\\?' is not UTF-8$", "chat", "smollm2", b"a\xff", TQKV=sys.executable)

    def test_a_cut_file(self):
        folder = self.tree / "build" / "models" / "smollm2"
        folder.mkdir(parents=True)
        for name in ("model.gguf", "model.safetensors"):
            (folder / name).write_bytes(b"GGUF")
        self.refused(1, r"^chat: .*smollm2/model.gguf is not whole: run models/get smollm2, which mends it$", "chat",
                     "smollm2", "a", built=True, TQKV=sys.executable)


unittest.main()
