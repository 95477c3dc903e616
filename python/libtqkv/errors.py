# SPDX-License-Identifier: MIT
"""What the library refuses raises a TqkvError, with its status, field and index.

What is no array, or an argument that a function does not have, is a TypeError, as in Python itself.
"""

from __future__ import annotations

import enum


class Status(enum.IntEnum):
    """The library's statuses, as tqkv/status.h explains them, without their TQ_E_."""

    OK = 0
    NULL = 10
    SIZE = 11
    OVERLAP = 12
    OVERFLOW = 13
    STRIDE = 14
    FORMAT = 20
    HEAD_DIM = 21
    BITS = 22
    NORMS_PER_POS = 23
    SCALE_FACTOR = 24
    NORM_RULE = 25
    HEADS = 26
    DOMAIN = 27
    MASK = 28
    SCALE = 29
    POSITION = 30
    POLICY = 31
    NOT_FINITE = 40
    RANGE = 41
    CODE = 42
    NO_MEMORY = 50
    IO = 51
    FILE_MAGIC = 60
    FILE_TRUNCATED = 61
    FILE_HEADER = 62
    FILE_TYPE = 63
    FILE_SHAPE = 64
    FILE_FIELD = 65
    FILE_CHECKSUM = 66
    ISA = 70
    UNSUPPORTED = 71
    DEVICE = 72


class TqkvError(Exception):
    """A call was refused.

    status   why, a Status
    field    the argument, tensor or field at fault; "" if none
    index    the element of that array, as it lies in memory, or the number that was refused or is wanted
    """

    def __init__(self, message: str, status: Status = Status.OK, field: str = "", index: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.field = field
        self.index = index

    def __reduce__(self):
        return type(self), (self.args[0], self.status, self.field, self.index)


class TqkvValueError(TqkvError, ValueError):
    """An argument, or what is in it."""


class TqkvMemoryError(TqkvError, MemoryError):
    """There is no memory, or no free page in a pool."""


class TqkvFileError(TqkvError, OSError):
    """The operating system refused to open, read, write or rename a file."""


_OTHERS = {Status.NO_MEMORY: TqkvMemoryError, Status.IO: TqkvFileError}


def _raised(status: int, field: str, message: str, index: int) -> TqkvError:
    known = Status(status)
    return _OTHERS.get(known, TqkvValueError)(message, known, field, index)
