# SPDX-License-Identifier: MIT
"""The tokenizer in a GGUF file: ids of a text, bytes of an id, the layout of a chat, and token files."""
import functools
import re

import numpy as np

import files
import tensors

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # GGUF's types of tokens
SPACE = "\u2581"  # SentencePiece's space

# How Qwen's publishers split a text before BPE sees it.
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")


def byte_alphabet():
    """GPT-2's letter for each byte: itself if it can be seen, else the next one above 255."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = {chr(b): b for b in seen}
    for n, b in enumerate(b for b in range(256) if b not in seen):
        letters[chr(256 + n)] = b
    return letters


class Vocabulary:
    def __init__(self, reader):
        def value(key, default=None):
            field = reader.fields.get("tokenizer." + key)
            return default if field is None else field.contents()

        self.model, self.pre = value("ggml.model"), value("ggml.pre")
        self.tokens, self.types = value("ggml.tokens"), value("ggml.token_type")
        self.ids = {text: i for i, text in enumerate(self.tokens)}
        self.merges, self.scores = value("ggml.merges"), value("ggml.scores")
        self.begin = value("ggml.bos_token_id") if value("ggml.add_bos_token", False) else None
        self.chat_template = value("chat_template")

    # ---- what an id stands for

    def text(self, i, alphabet):
        token, kind = self.tokens[i], self.types[i]
        if kind in (UNKNOWN, CONTROL, UNUSED):
            return b""
        if kind == BYTE:
            return bytes([int(re.fullmatch(r"<0x(..)>", token)[1], 16)])
        if kind == NORMAL and self.model == "gpt2":
            return bytes(alphabet[letter] for letter in token)
        return token.replace(SPACE, " ").encode()

    def table(self):
        """tokens.bytes and tokens.offsets of a model file."""
        alphabet = byte_alphabet()
        texts = [self.text(i, alphabet) for i in range(len(self.tokens))]
        offsets = np.cumsum([0] + [len(t) for t in texts]).astype(np.uint32)
        return np.frombuffer(b"".join(texts), np.uint8), offsets

    # ---- ids of a text

    @functools.cached_property
    def tokenizer(self):
        from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
        if self.model == "gpt2" and self.pre in ("smollm", "qwen2"):
            t = Tokenizer(models.BPE(vocab=self.ids, merges=[tuple(m.split(" ")) for m in self.merges]))
            level = pre_tokenizers.ByteLevel
            if self.pre == "smollm":
                steps = [pre_tokenizers.Digits(individual_digits=True), level(add_prefix_space=False)]
            else:
                t.normalizer = normalizers.NFC()
                steps = [pre_tokenizers.Split(Regex(QWEN2), "isolated"), level(add_prefix_space=False, use_regex=False)]
            t.pre_tokenizer = pre_tokenizers.Sequence(steps)
        elif self.model == "llama":
            t = Tokenizer(models.BPE(vocab=self.ids, merges=self.merges_by_score(), unk_token="<unk>",
                                     byte_fallback=True, fuse_unk=True))
            t.normalizer = normalizers.Replace(" ", SPACE)
        else:
            raise files.Refused(f"tokenizer {self.model}, {self.pre}: not known here")
        t.add_tokens([AddedToken(text, special=kind == CONTROL, normalized=False)
                      for text, kind in zip(self.tokens, self.types) if kind in (CONTROL, USER_DEFINED)])
        return t

    def merges_by_score(self):
        """SentencePiece joins the pair whose union has the highest score: as a list of merges, best first."""
        normal = {text: self.scores[i] for text, i in self.ids.items() if self.types[i] == NORMAL}
        order = sorted((text for text in normal if len(text) > 1), key=lambda text: -normal[text])
        return [(text[:cut], text[cut:]) for text in order for cut in range(1, len(text))
                if text[:cut] in normal and text[cut:] in normal]

    def encode(self, text):
        """As the model's own tokenizer begins a text: with its first token, if it has one."""
        return ([] if self.begin is None else [self.begin]) + self.tokenizer.encode(text).ids

    def encode_chat(self, text):
        """The chat template wrote the first token itself."""
        return self.tokenizer.encode(text).ids

    def lay_out(self, messages, model, ask):
        """A chat as the model was taught to read it. ask: end where the model is to go on."""
        import jinja2.sandbox

        def refuse(text):
            raise files.Refused(f"the chat template says: {text}")

        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = refuse
        begin = "" if self.begin is None else self.tokens[self.begin]
        return environment.from_string(self.chat_template or model.chat_template).render(
            messages=messages, add_generation_prompt=ask, bos_token=begin, tools=None)


def write(path, ids, vocabulary, model_name, text, licence):
    """A token file (README.md, "Token files")."""
    kind = np.uint16 if len(vocabulary.tokens) <= 1 << 16 else np.uint32
    notes = {"model": model_name, "vocab": len(vocabulary.tokens), "text": text, "license": licence}
    tensors.write(path, {"tokens": tensors.given(np.array(ids, kind))},
                            {"tqkv.tokens." + key: value for key, value in notes.items()})
