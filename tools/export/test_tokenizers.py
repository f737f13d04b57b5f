"""Tokenizer files hold all that the steps in docs/exporting.md need to give the tokenizer's ids."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
import regex
import tiny_pipelines
import torch
from glint_export import tokenizers
from glint_export.exporter import load_pipeline
from prompts import PROMPTS

WORDS = regex.compile(
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
)
PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
SYMBOLS = dict(
    zip(PRINTABLE + [b for b in range(256) if b not in PRINTABLE], tiny_pipelines.bytes_to_symbols())
)


class ClipFile:
    """The five steps, from the file alone."""

    def __init__(self, content: dict, fields: dict) -> None:
        self.content, self.fields = content, fields
        self.ranks = {tuple(pair): rank for rank, pair in enumerate(content["merges"])}

    def added(self, normalized: bool) -> dict[str, int]:
        chosen = [token for token in self.content["added"] if token["normalized"] == normalized]
        return {self.normalise(t["text"]) if normalized else t["text"]: t["id"] for t in chosen}

    @staticmethod
    def normalise(text: str) -> str:
        spaced = regex.sub(r"\s+", " ", unicodedata.normalize("NFC", text))
        return "".join(character.lower() for character in spaced)

    @staticmethod
    def words(text: str) -> list[str]:
        matches = WORDS.findall(text)
        return [
            w
            for m in matches
            for w in (["<|", m[2:-2], "|>"] if m[:2] == "<|" and m[2:].endswith("text|>") else [m])
        ]

    def merged(self, word: str) -> list[str]:
        parts = [SYMBOLS[byte] for byte in word.encode()]
        parts[-1] += self.content["suffix"]
        while pairs := [(self.ranks[p], i) for i, p in enumerate(zip(parts, parts[1:])) if p in self.ranks]:
            _, i = min(pairs)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        return parts

    def ids(self, prompt: str) -> list[int]:
        vocabulary, ids = self.content["vocabulary"], []
        for piece in tokenizers.cut(prompt, self.added(normalized=False)):
            parts = (
                [piece]
                if isinstance(piece, int)
                else tokenizers.cut(self.normalise(piece), self.added(normalized=True))
            )
            for part in parts:
                words = [] if isinstance(part, int) else self.words(part)
                ids += [part] if isinstance(part, int) else []
                ids += [
                    vocabulary.get(s, self.content["unknown"]) for word in words for s in self.merged(word)
                ]
        length = self.fields["max_tokens"]
        ids = [self.fields["bos"], *ids[: length - 2], self.fields["eos"]]
        return ids + [self.fields["pad"]] * (length - len(ids))


@pytest.mark.parametrize("name", ("tokenizer", "tokenizer_2"))
def test_clip_file_gives_the_same_ids(sources: dict[str, Path], tmp_path: Path, name: str) -> None:
    tokenizer = getattr(load_pipeline(sources["sdxl"], torch.float32, "cpu"), name)
    fields = tokenizers.write_clip(tokenizer, 77, tmp_path / "clip.json")
    stored = ClipFile(json.loads((tmp_path / "clip.json").read_text(encoding="utf-8")), fields)
    expected = tokenizer(PROMPTS, padding="max_length", max_length=77, truncation=True).input_ids
    assert [prompt for prompt, ids in zip(PROMPTS, expected) if stored.ids(prompt) != ids] == []


@pytest.mark.parametrize(
    ("family", "name", "length"), [("flux", "tokenizer_2", 512), ("wan", "tokenizer", 512)]
)
def test_sentencepiece_file_gives_the_same_ids(
    sources: dict[str, Path], tmp_path: Path, family: str, name: str, length: int
) -> None:
    tokenizer = getattr(load_pipeline(sources[family], torch.float32, "cpu"), name)
    tokenizers.write_sentencepiece(tokenizer, length, tmp_path / "model")
    stored = tokenizers.SentencePieceFile((tmp_path / "model").read_bytes())
    expected = tokenizer(PROMPTS, padding="max_length", max_length=length, truncation=True).input_ids
    wrong = [prompt for prompt, ids in zip(PROMPTS, expected) if stored.ids(prompt, length) != ids]
    assert wrong == []


def test_several_marks_on_one_letter_are_the_known_difference(
    sources: dict[str, Path], tmp_path: Path
) -> None:
    """tokenizers looks up graphemes of six or more bytes by code point; SentencePiece joins their start."""
    tokenizer = load_pipeline(sources["flux"], torch.float32, "cpu").tokenizer_2
    tokenizers.write_sentencepiece(tokenizer, 512, tmp_path / "model")
    stored, prompt = tokenizers.SentencePieceFile((tmp_path / "model").read_bytes()), "a\u0300\u0301\u0302"
    assert stored.ids(prompt, 512) != tokenizer(prompt, padding="max_length", max_length=512).input_ids
