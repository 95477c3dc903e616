# SPDX-License-Identifier: MIT
"""Keys and values to codes, into a file and back, with the error beside the bits of each format.

    python round_trip.py [FOLDER]        plot: pip install matplotlib
"""

import sys
from pathlib import Path

import numpy as np

import libtqkv

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
rng = np.random.default_rng(1)
k = rng.standard_normal((8, 1024, 128), np.float32) + 2 * rng.standard_normal((8, 1, 128), np.float32)
v = rng.standard_normal((8, 1024, 128), np.float32)

codec = libtqkv.Codec("tq4", head_dim=128)
codes = codec.encode(k, "learn")  # the keys' common part is subtracted, and kept beside the codes
codes.save(folder / "k.safetensors")  # `tqkv decode k.safetensors -o k.npy` reads it too
back = libtqkv.load(folder / "k.safetensors").decode()
print(f"{codes.bits_per_value:.3f} bits a value, relative squared error {((back - k) ** 2).sum() / (k ** 2).sum():.4f}\n")

result = libtqkv.sweep(k, v)
print(result)
try:
    result.plot(folder / "sweep.png")
    print(f"\n{folder / 'sweep.png'}: the errors over the bits")
except ImportError:
    print("\nno picture: matplotlib is not installed")
