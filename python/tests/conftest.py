# SPDX-License-Identifier: MIT
"""What the tests share."""

import os
import subprocess

import numpy as np
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(20261126)


@pytest.fixture(scope="session")
def tqkv():
    """Runs the command tqkv; what it prints."""
    command = os.environ["TQKV"]

    def run(*arguments):
        done = subprocess.run([command, *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
