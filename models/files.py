# SPDX-License-Identifier: MIT
"""Files that are whole or not there. The standard library is enough for it."""
import contextlib
import hashlib
import os
import pathlib
import shutil

MB = 1000 * 1000


class Refused(Exception):
    """Something that the user can mend; its text says what and how."""


def part_of(path):
    path = pathlib.Path(path)
    return path.with_name(path.name + ".part")


@contextlib.contextmanager
def whole(path):
    """A file to write that gets its name when it is complete and on the disk; until then it is PATH.part."""
    part = part_of(path)
    try:
        with open(part, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):  # write() does not say of which file it speaks
            raise Refused(f"{path}: {error.strerror}; nothing is left of it") from error
        raise


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as data:
        while block := data.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def need_space(path, n):
    """For a file that is to be written: what a killed run left of it is in nobody's way."""
    part_of(path).unlink(missing_ok=True)
    free = shutil.disk_usage(pathlib.Path(path).parent).free
    if free < n:
        raise Refused(f"{path}: {n / MB:.0f} MB are needed, {free / MB:.0f} MB are free")
