"""glint's readers against those that others use, on thousands of damaged and random inputs: what glint takes,
they take, with the same result; what they take and glint refuses, it refuses for a reason it documents."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import sentencepiece
import torch
import web_prompts
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from tiny_pipelines import clip_tokenizer

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = ROOT / "tests/data/families"
SENTENCEPIECE = sorted(FAMILIES.glob("*/tokenizer*.model"))
VERDICT = Path(os.environ.get("GLINT_VERDICT", ROOT / "build/dev/tests/glint_verdict"))
BLOCKS = (
    *((32, 126), (160, 591), (768, 879), (913, 1279), (1424, 1514), (1536, 1791), (2304, 2431), (3584, 3675)),
    *((4352, 4607), (7680, 7935), (8192, 8303), (8448, 8591), (9728, 9983), (12288, 12543), (19968, 20479)),
    *((44032, 44543), (57344, 57400), (64256, 64335), (65024, 65039), (65281, 65519), (119808, 120000)),
    *((127744, 128591), (917504, 917631), (1, 31), (127, 159)),
)
WORDS = ("a photo of a cat", "  ", "\n", "don't", "1234", "e\u0301", "\u200d", "ＡＢＣ", "ﬁ", "\u3000")

pytestmark = pytest.mark.skipif(not VERDICT.exists(), reason=f"{VERDICT} is not built")


def ask(kind: str, request: object) -> list:
    """What glint makes of the inputs."""
    asked = json.dumps({kind: request})
    run = subprocess.run([VERDICT], input=asked, capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


def damaged(seeds: Sequence[bytes], count: int, draw: random.Random, head: int = 1 << 30) -> list[bytes]:
    """Copies with one to four bytes changed, repeated, cut out or cut off, in the first `head` bytes."""
    copies = []
    for _ in range(count):
        data = bytearray(draw.choice(seeds))
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(min(len(data), head) or 1)
            match draw.randrange(6):
                case 0:
                    data[at : at + 1] = bytes([draw.randrange(256)])
                case 1:
                    data[at : at + 1] = bytes([draw.choice(b'"{}[]:,0123456789-.eE\\\x00 ')])
                case 2:
                    del data[at : at + draw.randint(1, 8)]
                case 3:
                    data[at:at] = data[at : at + draw.randint(1, 16)]
                case 4 if len(data) > at:
                    data[at] ^= 1 << draw.randrange(8)
                case _:
                    del data[len(data) - draw.randint(0, 3) :]
        copies.append(bytes(data))
    return copies


def prompts(count: int, draw: random.Random) -> list[str]:
    """Random text of all scripts, with words and white space between."""

    def piece() -> str:
        if draw.random() < 0.3:
            return draw.choice(WORDS)
        low, high = draw.choice(BLOCKS)
        return "".join(chr(draw.randint(low, high)) for _ in range(draw.randint(1, 6)))

    return ["".join(piece() for _ in range(draw.randint(1, 12))) for _ in range(count)]


def test_json_as_python() -> None:
    """Python takes numbers that are none, keys that appear twice, halves of characters and any depth."""
    seeds = [
        b'{"a": [1, -2.5e3, true, null, "x\\u00e9\\n"], "b": {"c": "\\ud83d\\ude00"}}',
        (ROOT / "models/emoji-flow/model.json").read_bytes()[:2000],
        b"[" * 63 + b"]" * 63,
    ]
    inputs = damaged(seeds, 20000, random.Random(1))
    taken = 0
    for data, told in zip(inputs, ask("json", [x.hex() for x in inputs]), strict=True):
        try:
            value, refused = json.loads(data.decode()), ""
        except (ValueError, RecursionError) as error:
            value, refused = None, repr(error)
        if "error" in told:
            more = "twice" in told["error"] or "nested" in told["error"] or "range" in told["error"]
            more |= any(word in data for word in (b"NaN", b"Infinity", b"\\ud", b"\\uD"))
            assert refused or more, (data, told)
        else:
            assert not refused, (data, refused)
            assert told["value"] == value, data
            taken += 1
    assert taken > 400


def test_safetensors_as_the_package() -> None:
    """Files of types that glint has no use for are refused by name, and so are names that appear twice."""
    draw = random.Random(2)
    files = ("sdxl/released.safetensors", "flux/lora-kohya.safetensors")
    large = [(FAMILIES / file).read_bytes() for file in files]
    numbers = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(0, dtype=torch.int64)}
    halves = {"x.y": torch.ones(4, dtype=torch.bfloat16), "z": torch.tensor(1, dtype=torch.uint8)}
    small = [save_safetensors(numbers, {"k": "v"}), save_safetensors(halves)]
    inputs = damaged(large, 300, draw, head=600) + damaged(small, 15000, draw)
    taken = 0
    for data, told in zip(inputs, ask("safetensors", [x.hex() for x in inputs]), strict=True):
        try:
            tensors, refused = load_safetensors(data), ""
        except Exception as error:  # noqa: BLE001 - whatever the package raises is a refusal
            tensors, refused = {}, repr(error)
        if isinstance(told.get("error"), str):
            assert refused or "dtype" in told["error"] or "twice" in told["error"], (data[:300], told)
            continue
        assert not refused, (data[:300], refused)
        assert set(told) == set(tensors)
        for name, (_, shape, digest) in told.items():
            values = tensors[name].reshape(-1).view(torch.uint8) if tensors[name].numel() else torch.empty(0)
            assert shape == list(tensors[name].shape)
            assert digest == hashlib.sha256(values.numpy().tobytes()).hexdigest(), (name, data[:300])
        taken += 1
    assert taken > 400


@pytest.mark.parametrize("file", SENTENCEPIECE, ids=lambda path: path.parent.name)
def test_sentencepiece_as_the_library(file: Path) -> None:
    texts = prompts(5000, random.Random(3))
    reference = sentencepiece.SentencePieceProcessor(model_proto=file.read_bytes())
    (told,) = ask("sentencepiece", {"models": [file.read_bytes().hex()], "prompts": texts})
    for text, ids in zip(texts, told, strict=True):
        assert ids == [*reference.encode(text), 1], repr(text)


def test_clip_as_transformers() -> None:
    texts = prompts(5000, random.Random(4))
    model = (FAMILIES / "sdxl/tokenizer.json").read_bytes()
    reference = clip_tokenizer()
    (told,) = ask("clip", {"models": [model.hex()], "prompts": texts})
    for text, ids in zip(texts, told, strict=True):
        assert ids == [0, *reference(text, add_special_tokens=False)["input_ids"], 1], repr(text)


def test_web_text_as_wans_pipeline() -> None:
    texts = prompts(2000, random.Random(5)) + web_prompts.damaged(seed=5, count=4000)
    told = ask("web_text", [text.encode().hex() for text in texts])
    for text, answer in zip(texts, told, strict=True):
        assert answer["text"] == prompt_clean(text), repr(text)
