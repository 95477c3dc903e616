# SPDX-License-Identifier: MIT
"""Tensors of .safetensors files by name, as all commands take them that judge a user's own tensors."""
import array
import json
import struct

from support import CommandTest, gaussian, main, safetensors_bytes

G, T, D = 2, 30, 64
N = G * T * D


def rounded(values, dtype):
    """What a float32 tensor would hold in the place of one of that type."""
    if dtype == "F16":
        return array.array("f", struct.unpack(f"<{len(values)}e", struct.pack(f"<{len(values)}e", *values)))
    words = [struct.unpack("<I", struct.pack("<f", x))[0] for x in values]
    return array.array("f", (struct.unpack("<f", struct.pack("<I", w & 0xffff0000))[0] for w in words))


class Tensors(CommandTest):
    def setUp(self):
        super().setUp()
        self.q, self.k, self.v = gaussian(2 * N, 1), gaussian(N, 2), gaussian(N, 3)
        self.write("all.st", safetensors_bytes({
            "q": ("F32", (2 * G, T, D), self.q), "layers.0.k": ("BF16", (G, T, D), self.k),
            "v:0": ("F16", (G, T, D), self.v)}))
        self.write_npy("q.npy", (2 * G, T, D), self.q)
        self.write_npy("k.npy", (G, T, D), rounded(self.k, "BF16"))
        self.write_npy("v.npy", (G, T, D), rounded(self.v, "F16"))
        self.write_npy("half.npy", (G, T, D), self.v, descr="<f2")

    def test_every_command_reads_them(self):
        named = {"q": "all.st:q", "k": "all.st:layers.0.k", "v": "all.st:v:0"}
        plain = {"q": "q.npy", "k": "k.npy", "v": "v.npy"}
        seen = []
        for files in (named, plain, {**plain, "v": "half.npy"}):
            qkv = ("--q", files["q"], "--k", files["k"], "--v", files["v"])
            self.tqkv("attend", *qkv, "-o", "o.npy", "--causal", "--format", "tq4+recent=3")
            texts = [self.tqkv("ablate", *qkv, "--format", "tq4+centre=16+recent=2", "--causal", "--json"),
                     self.tqkv("sweep", files["k"], "--formats", "tq4+sinks", "--json"),
                     self.tqkv("encode", files["v"], "-o", "v.st", "--format", "tq4", "--json")]
            seen.append(([json.loads(text.replace(files["k"], "K")) for text in texts], self.read("o.npy"),
                         self.read("v.st")))
        self.assertEqual(seen[0], seen[1])
        self.assertEqual(seen[0], seen[2])

    def test_a_tensor_alone_needs_no_name(self):
        self.write("one.st", safetensors_bytes({"k": ("F32", (G, T, D), self.k)}))
        self.write_npy("f32.npy", (G, T, D), self.k)
        for name in ("one.st", "one.st:k", "f32.npy"):
            self.tqkv("encode", name, "-o", f"{name}.out", "--format", "tq4")
        self.assertEqual(self.read("one.st.out"), self.read("f32.npy.out"))
        self.assertEqual(self.read("one.st:k.out"), self.read("f32.npy.out"))
        self.tqkv("attend", "--q", "q.npy", "--k", "one.st", "--v", "v.npy", "-o", "o.npy")

    def test_a_path_is_a_path(self):
        """A file whose name has a colon is read as it is."""
        self.write("all.st:q", self.read("k.npy"))
        self.assertEqual(self.json("sweep", "all.st:q", "--formats", "tq4")["tensors"][0]["n_kv_heads"], G)

    def refuse(self, pattern, source):
        self.refused(1, pattern, "encode", source, "-o", "o.st", "--format", "tq4")

    def test_names_that_are_not_there(self):
        names = r"there are q, layers\.0\.k, v:0"
        self.refuse(rf"all\.st: no tensor 'k'; {names}\n", "all.st:k")
        self.refuse(rf"all\.st: which tensor\? Write all\.st:NAME; {names}\n", "all.st")
        self.refused(1, rf"all\.st: which tensor.*{names}", "attend", "--q", "q.npy", "--k", "all.st", "--v", "v.npy",
                     "-o", "o.npy")
        self.refuse(r"nothing\.st:k: .*No such file", "nothing.st:k")
        many = {f"model.layers.{i}.self_attn.k_proj.weight": ("F32", (1,), [0.0]) for i in range(300)}
        self.write("many.st", safetensors_bytes(many))
        done = self.refused(1, r"model\.layers\.0\.self_attn.* and 29\d more", "sweep", "many.st:k")
        self.assertLess(len(done.stderr), 600)
        self.write("none.st", safetensors_bytes({}))
        self.refuse(r"none\.st: holds no tensors", "none.st")
        self.refuse(r"none\.st: no tensor 'k'; there are none", "none.st:k")

    def test_tensors_that_are_not_taken(self):
        self.write("bad.st", safetensors_bytes({"i": ("I32", (2, 2), [0.0] * 4), "f": ("F32", (64,), [0.0] * 64)}))
        self.refuse(r"bad\.st: tensor i is of type I32; F32, F16 and BF16 are read", "bad.st:i")
        self.refuse(r"bad\.st:f: shape \[64\]; at least \[positions\]\[head_dim\]", "bad.st:f")
        values = gaussian(N, 2)
        for dtype in ("F32", "F16", "BF16"):
            for value, word in ((float("nan"), "NaN"), (float("-inf"), "infinite")):
                values[T * D + 65] = value
                self.write("nan.st", safetensors_bytes({"k": (dtype, (G, T, D), values)}))
                where = rf"nan\.st:k: value \[1, 1, 1\] \(flat index {T * D + 65}\) is {word}"
                self.refuse(where, "nan.st:k")
                self.refused(1, where, "ablate", "--q", "q.npy", "--k", "nan.st:k", "--v", "v.npy")
        self.refuse(r"k\.npy: .*a \.npy file; a \.safetensors file is expected", "k.npy:k")
        self.tqkv("encode", "k.npy", "-o", "k.st", "--format", "tq4")
        for name in ("k.st", "k.st:codes"):
            self.refuse(r"k\.st: is an encoded tensor, .*'tqkv decode' makes one", name)
        self.refused(2, "info tells about whole files", "info", "all.st:q")
        cut = self.read("all.st")[:-1]
        self.write("cut.st", cut)
        self.refuse(r"cut\.st: ", "cut.st:q")


main()
