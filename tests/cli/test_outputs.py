# SPDX-License-Identifier: MIT
"""Outputs: in place together or not at all, opened before the work, told apart by what they are."""
import ctypes
import os
import stat
import unittest

from support import CommandTest, gaussian, main

CAP_CHOWN, PR_CAPBSET_DROP = 0, 24


class Outputs(CommandTest):
    def setUp(self):
        super().setUp()
        for name in "qkv":
            self.write_npy(f"{name}.npy", (1, 4, 64), gaussian(256))
        self.attend = ("attend", "--q", "q.npy", "--k", "k.npy", "--v", "v.npy")
        self.tqkv("encode", "k.npy", "-o", "k.st", "--format", "tq4")

    def writers(self, target, source="gone"):
        return (("encode", source, "-o", target, "--format", "tq4"), ("decode", source, "-o", target),
                ("requantize", source, "-o", target, "--bits", "4"),
                ("attend", "--q", source, "--k", source, "--v", source, "-o", target),
                ("attend", "--q", source, "--k", source, "--v", source, "-o", "new", "--lse", target))

    def test_one_file_by_two_names(self):
        os.mkdir(self.path("d"))
        self.write("old.npy", b"before")
        os.symlink("old.npy", self.path("link.npy"))
        os.link(self.path("old.npy"), self.path("hard.npy"))
        os.symlink(".", self.path("here"))
        for one, other in (("o.npy", "o.npy"), ("o.npy", "./o.npy"), ("d/../o.npy", "o.npy"), ("here/o.npy", "o.npy"),
                           ("old.npy", "link.npy"), ("hard.npy", "old.npy"),
                           ("o.npy", os.path.join(self.folder, "o.npy"))):
            self.refused(2, "is the same file as the output ", *self.attend, "-o", one, "--lse", other)
            self.assertEqual(self.read("old.npy"), b"before")

    def test_the_second_output_fails(self):
        self.write("o.npy", b"before")
        os.mkdir(self.path("l.npy"))
        for lse in ("l.npy", "nowhere/l.npy", "/dev/null"):
            self.refused(1, lse, *self.attend, "-o", "o.npy", "--lse", lse)
            self.assertEqual(self.read("o.npy"), b"before")

    def test_what_cannot_be_written_is_known_before_anything_is_read(self):
        os.mkdir(self.path("folder"))
        os.symlink("nowhere", self.path("dangling"))
        for target in ("folder", "no/such/out", "dangling", "/dev/full", "k.npy/out"):
            for arguments in self.writers(target):
                self.refused(1, f"{arguments[0]}: {target}: ", *arguments)

    def test_a_planted_link_is_not_followed(self):
        """Names of temporary files cannot be known before: none is used twice."""
        self.tqkv("encode", "k.npy", "-o", "victim", "--format", "tq4")
        for name in (".out.part", ".out.tmp", "out.tmp", "out~"):
            os.symlink("victim", self.path(name))
        before, there = self.read("victim"), self.files()
        for arguments in self.writers("out", "k.npy"):
            if arguments[0] == "decode":
                arguments = ("decode", "k.st", "-o", "out")
            self.tqkv(*arguments)
        self.assertEqual(self.files(), sorted(there + ["new", "out"]))
        self.assertEqual(self.read("victim"), before)

    @unittest.skipUnless(os.geteuid() == 0, "only root can have and give files of others")
    def test_owners(self):
        self.write("o.npy", b"before")
        self.write("l.npy", b"before")
        for name in ("o.npy", "l.npy"):
            os.chmod(self.path(name), 0o640)
            os.chown(self.path(name), 12345, 23456)
        self.tqkv(*self.attend, "-o", "o.npy", "--lse", "l.npy")
        for name in ("o.npy", "l.npy"):
            about = os.stat(self.path(name))
            self.assertEqual((about.st_uid, about.st_gid, stat.S_IMODE(about.st_mode)), (12345, 23456, 0o640))
        done = self.run_raw(*self.attend, "-o", "o.npy", preexec_fn=lambda: ctypes.CDLL(None).prctl(
            PR_CAPBSET_DROP, CAP_CHOWN, 0, 0, 0))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, "note: o.npy: its owner or group is not that of the file it replaces")
        about = os.stat(self.path("o.npy"))
        self.assertEqual((about.st_uid, stat.S_IMODE(about.st_mode)), (os.geteuid(), 0o640))


main()
