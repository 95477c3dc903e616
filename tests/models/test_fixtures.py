# SPDX-License-Identifier: MIT
"""What is committed of the fetched models was made from the files that models/get writes."""
import json
import struct
import unittest

import support

import fetched


def metadata(path):
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8:8 + size])["__metadata__"]


class Fixtures(unittest.TestCase):
    def test_checksums(self):
        for model in fetched.MODELS.values():
            said = metadata(support.MODELS / f"fixture-{model.name}.safetensors")
            self.assertEqual(said["tqkv.fixture.model_sha256"], model.model_sha256)
            self.assertEqual(said["tqkv.fixture.model"], f"{model.name}/model.safetensors")

    def test_packages(self):
        for model in fetched.MODELS.values():
            for _, wheel, sha in model.packages:
                self.assertRegex(wheel, r"^\w+-[\d.]+-py3-none-any\.whl$")
                self.assertRegex(sha, "^[0-9a-f]{64}$")
            self.assertRegex(model.gguf_sha256, "^[0-9a-f]{64}$")


unittest.main()
