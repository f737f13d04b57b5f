"""Tokenizer files hold all that the steps in docs/exporting.md need to give the tokenizer's ids."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from glint_export import tokenizers
from glint_export.errors import ExportError
from glint_export.exporter import load_pipeline
from prompts import PROMPTS
from tokenizers import normalizers
from transformers import CLIPTokenizer

@pytest.mark.parametrize("name", ("tokenizer", "tokenizer_2"))
def test_clip_file_gives_the_same_ids(sources: dict[str, Path], tmp_path: Path, name: str) -> None:
    tokenizer = getattr(load_pipeline(sources["sdxl"], torch.float32, "cpu"), name)
    fields = tokenizers.write_clip(tokenizer, 77, tmp_path / "clip.json")
    stored = tokenizers.ClipFile(json.loads((tmp_path / "clip.json").read_text(encoding="utf-8")), fields)
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
    stored = tokenizers.SentencePieceFile((tmp_path / "model").read_bytes(), length)
    expected = tokenizer(PROMPTS, padding="max_length", max_length=length, truncation=True).input_ids
    wrong = [prompt for prompt, ids in zip(PROMPTS, expected) if stored.ids(prompt) != ids]
    assert wrong == []


def test_several_marks_on_one_letter_are_the_known_difference(
    sources: dict[str, Path], tmp_path: Path
) -> None:
    """tokenizers looks up graphemes of six or more bytes by code point; SentencePiece joins their start."""
    tokenizer = load_pipeline(sources["flux"], torch.float32, "cpu").tokenizer_2
    tokenizers.write_sentencepiece(tokenizer, 512, tmp_path / "model")
    stored = tokenizers.SentencePieceFile((tmp_path / "model").read_bytes(), 512)
    prompt = "a\u0300\u0301\u0302"
    assert stored.ids(prompt) != tokenizer(prompt, padding="max_length", max_length=512).input_ids


def test_clip_tokenizers_of_other_rules_are_refused(sources: dict[str, Path], tmp_path: Path) -> None:
    def changed(**fields: object) -> CLIPTokenizer:
        tokenizer = CLIPTokenizer.from_pretrained(str(sources["sdxl"] / "tokenizer"))
        for name, value in fields.items():
            setattr(tokenizer, name, value)
        return tokenizer

    def cased() -> CLIPTokenizer:
        tokenizer = changed()
        tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
        return tokenizer

    for tokenizer in (changed(padding_side="left"), changed(truncation_side="left"), cased()):
        with pytest.raises(ExportError, match="tokenizer: the prompt '.*' becomes"):
            tokenizers.write_clip(tokenizer, 77, tmp_path / "tokenizer.partial")
    with pytest.raises(ExportError, match="tokenizer: pad_token is missing"):
        tokenizers.write_clip(changed(pad_token=None), 77, tmp_path / "tokenizer.partial")
