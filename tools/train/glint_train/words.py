"""The word tokenizer: lower-case words to ids, padded with 0."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from .grammar import RELATIONS, Grammar
from .objects import COLOURS, words_of
from .run import require

PAD, UNKNOWN, MAX_TOKENS = 0, 1, 16


def build_vocabulary(grammar: Grammar) -> dict[str, int]:
    """Every word of the grammar, the names and the keywords -> id from 2 on."""
    words: set[str] = {"a", "an", "the", "on", "of", "background", "small", "big", "white", *COLOURS}
    for text in (*RELATIONS, *grammar.names):
        words.update(words_of(text))
    for item in grammar.objects:
        words.update(words_of(item.name))
        words.update(word for keyword in item.keywords for word in words_of(keyword))
    return {word: index for index, word in enumerate(sorted(words), start=2)}


def read_words(folder: Path, hint: str) -> dict[str, int]:
    """The words of a folder's tokenizer.json and their ids; a SystemExit with the hint if there is none."""
    return json.loads(require(folder / "tokenizer.json", hint).read_text())["words"]


class WordTokenizer:
    """Text to ids [16]; the empty text is all padding, which is the null prompt."""

    def __init__(self, vocabulary: dict[str, int]) -> None:
        self.vocabulary = vocabulary

    @property
    def size(self) -> int:
        """The number of ids."""
        return len(self.vocabulary) + 2

    def encode(self, text: str) -> np.ndarray:
        """Ids [16] int64 of the first 16 words."""
        ids = [self.vocabulary.get(word, UNKNOWN) for word in words_of(text)][:MAX_TOKENS]
        return np.asarray(ids + [PAD] * (MAX_TOKENS - len(ids)), dtype=np.int64)

    def save(self, path: Path) -> None:
        """Writes the tokenizer file of a bundle."""
        body = {
            "version": 1,
            "type": "words",
            "pad": PAD,
            "unknown": UNKNOWN,
            "max_tokens": MAX_TOKENS,
            "words": self.vocabulary,
        }
        path.write_text(json.dumps(body, indent=0, ensure_ascii=True) + "\n")
