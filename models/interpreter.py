# SPDX-License-Identifier: MIT
"""Runs a script under a Python that has its packages: this one, or a virtual environment of its own."""
import importlib.util
import os
import subprocess
import sys

import fetched
import files

PACKAGES = {"numpy": "numpy>=1.24", "gguf": "gguf==0.19.0", "tokenizers": "tokenizers>=0.15", "jinja2": "jinja2>=3"}
VENV = fetched.BUILD / "venv"
VENV_BYTES = 200 * files.MB  # with these versions it is 150 MB


def missing():
    return [name for name in (*PACKAGES, "pip") if importlib.util.find_spec(name) is None]


def make():
    print(f"These Python packages are needed and not all here ({', '.join(missing())} missing): "
          f"installing them by pip, about 100 MB,\n  into {VENV}", flush=True)
    files.need_space(VENV, VENV_BYTES)
    made = VENV / "made"  # the last step: an environment without it is half of one
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
        subprocess.run([str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet",
                        "--disable-pip-version-check", *PACKAGES.values()], check=True)
    except subprocess.CalledProcessError as error:
        raise files.Refused(f"{' '.join(error.cmd[:4])}: failed (Debian: apt-get install python3-venv)") from error
    made.touch()


def again():
    """Is this the second start, under VENV?"""
    return sys.prefix == str(VENV)


def ensure():
    """Returns under a Python that has PACKAGES, the arguments as they were."""
    if not missing():
        return
    if again():
        raise files.Refused(f"{VENV}: has no {', '.join(missing())}; delete that folder")
    if not (VENV / "made").exists():
        VENV.parent.mkdir(parents=True, exist_ok=True)
        make()
    os.execv(VENV / "bin" / "python", [str(VENV / "bin" / "python"), *sys.argv])
