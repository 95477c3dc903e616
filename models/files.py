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


@contextlib.contextmanager
def whole(path):
    """A file to write that gets its name when it is complete and on the disk; until then it is PATH.part."""
    path = pathlib.Path(path)
    part = path.with_name(path.name + ".part")
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


def need_space(folder, n):
    free = shutil.disk_usage(folder).free
    if free < n:
        raise Refused(f"{folder}: {n / MB:.0f} MB are needed, {free / MB:.0f} MB are free")
