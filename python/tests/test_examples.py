# SPDX-License-Identifier: MIT
"""The examples that need NumPy alone, as users run them; and the code of docs/python.md."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

SOURCE = Path(os.environ["TQKV_SOURCE"])


def run(folder, *arguments):
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, cwd=folder, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_round_trip(tmp_path):
    out = run(tmp_path, SOURCE / "examples/python/round_trip.py")
    assert "4.141 bits a value" in out and "tq8" in out and (tmp_path / "k.safetensors").exists()
    assert (tmp_path / "sweep.png").exists() or "no picture" in out


def test_judge(tmp_path):
    rows = {line[:32].strip(): float(line.split()[-1]) for line in
            run(tmp_path, SOURCE / "examples/python/judge.py").splitlines()[1:]}
    assert rows["f16"] < 1e-6 < rows["tq8"] < rows["default"] < rows["tq4+centre"] < rows["tq4"]
    rng = np.random.default_rng(2)
    for name, heads in (("q", 4), ("k", 2), ("v", 2)):
        np.save(tmp_path / f"{name}.npy", rng.standard_normal((heads, 70, 32), np.float32))
    assert "default" in run(tmp_path, SOURCE / "examples/python/judge.py", "q.npy", "k.npy", "v.npy")


def test_the_documentation(tmp_path):
    """Blocks of docs/python.md that are marked as Python, one after the other, but for those that need PyTorch."""
    text = (SOURCE / "docs/python.md").read_text()
    blocks = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "transformers" not in block
              and "torch" not in block and "lmcache" not in block]
    assert len(blocks) >= 3
    (tmp_path / "docs.py").write_text("\n".join(blocks))
    run(tmp_path, "docs.py")
