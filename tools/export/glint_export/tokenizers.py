"""Tokenizers as files the library reads: byte-pair encoding as JSON, unigram models as SentencePiece."""

from __future__ import annotations

import base64
import gzip
import importlib.util
import json
import unicodedata
from pathlib import Path

import regex
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as proto
from transformers import CLIPTokenizer, PreTrainedTokenizerBase

from .errors import require

CLIP_WORDS = 49408
CLIP_PATTERN = regex.compile(
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
)
PROMPTS = (
    "",
    "a photo of an astronaut riding a horse",
    "  Leading, trailing  and\tinner\n white   space ",
    "CafÉ déjà-vu, naïve coöperation; it's we'll I'd 12345 3.14 — “quotes”",
    "猫と犬 🐱🐶 👩‍👩‍👧 كلب собака",
    "wow!!! <|endoftext|> </s> <pad> <extra_id_0> #hashtag @user",
    "long " * 300,
)


def byte_symbols() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, in the order of CLIP's vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def clip_vocabulary() -> Path | None:
    """The merges of CLIP's byte-pair encoding, in the package open_clip_torch if that is installed."""
    package = importlib.util.find_spec("open_clip")
    for folder in package.submodule_search_locations or () if package else ():
        file = Path(folder) / "bpe_simple_vocab_16e6.txt.gz"
        if file.is_file():
            return file
    return None


def clip_tokenizer(file: Path, pad: str) -> CLIPTokenizer:
    """CLIP's tokenizer, made of its merges as CLIP's code does."""
    lines = gzip.decompress(file.read_bytes()).decode("utf-8").split("\n")
    merges = [tuple(line.split()) for line in lines[1 : CLIP_WORDS - 2 * 256 - 2 + 1]]
    symbols = byte_symbols()
    words = [*symbols, *(symbol + "</w>" for symbol in symbols), *map("".join, merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    require(len(words) == CLIP_WORDS and len(set(words)) == CLIP_WORDS, f"{file}: not CLIP's vocabulary")
    vocabulary = {word: i for i, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=pad, model_max_length=77)


def common_fields(tokenizer: PreTrainedTokenizerBase, length: int, name: str) -> dict[str, object]:
    longest = 65536  # what transformers takes for an unknown length is 1e30
    require(length <= longest, f"{name}: model_max_length = {length:g} is not supported, at most {longest}")
    for token in ("pad_token", "eos_token"):
        require(getattr(tokenizer, token) is not None, f"{name}: {token} is missing")
    return {"max_tokens": length, "pad": tokenizer.pad_token_id, "eos": tokenizer.eos_token_id}


def added_texts(state: dict) -> list[dict[str, object]]:
    for token in state["added_tokens"]:
        plain = not (token["single_word"] or token["lstrip"] or token["rstrip"])
        require(plain, f"tokenizer: added token {token['content']!r} strips white space or needs word bounds")
    return [
        {"text": t["content"], "id": t["id"], "normalized": t["normalized"]} for t in state["added_tokens"]
    ]


def write_clip(tokenizer: PreTrainedTokenizerBase, length: int, path: Path) -> dict[str, object]:
    """Writes a clip-bpe file; returns the component's fields."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    model = state["model"]
    require(model["type"] == "BPE", f"tokenizer: expected a byte-pair encoding, got {model['type']}")
    require(model["end_of_word_suffix"] == "</w>", "tokenizer: expected the end-of-word suffix </w>")
    content = {
        "version": 1,
        "type": "clip-bpe",
        "vocabulary": model["vocab"],
        "merges": model["merges"],
        "unknown": tokenizer.unk_token_id,
        "suffix": "</w>",
        "added": added_texts(state),
    }
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    require(tokenizer.bos_token_id is not None, f"{path.stem}: bos_token is missing")
    fields = common_fields(tokenizer, length, path.stem) | {"bos": tokenizer.bos_token_id}
    check_ids(tokenizer, ClipFile(content, fields), path.stem, length)
    return {"backend": "clip-bpe", **fields}


def precompiled(normalizer: dict | None) -> bytes:
    """SentencePiece's own normalisation table, if the normalisers have one; no other kind is known."""
    if normalizer is None:
        return b""
    kind = normalizer["type"]
    if kind == "Sequence":
        parts = [precompiled(part) for part in normalizer["normalizers"] if part["type"] != "Replace"]
        require(len(parts) <= 1, "tokenizer: more than one normaliser")
        return parts[0] if parts else b""
    require(kind == "Precompiled", f"tokenizer: normaliser {kind} is not known")
    return base64.b64decode(normalizer["precompiled_charsmap"])


def write_sentencepiece(tokenizer: PreTrainedTokenizerBase, length: int, path: Path) -> dict[str, object]:
    """Writes a SentencePiece unigram model that tokenizes as the pipeline's tokenizer does, and proves it."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    require(
        state["model"]["type"] == "Unigram",
        f"tokenizer: expected a unigram model, got {state['model']['type']}",
    )
    fields = common_fields(tokenizer, length, path.stem)
    kinds = proto.ModelProto.SentencePiece
    model = proto.ModelProto()
    pieces = [(text, score) for text, score in state["model"]["vocab"]]
    added = {token["id"]: token["text"] for token in added_texts(state)}
    for identity in sorted(added):
        if identity >= len(pieces):
            require(identity == len(pieces), f"tokenizer: no token has the id {len(pieces)}")
            pieces.append((added[identity], 0.0))
    unknown = state["model"]["unk_id"]
    for identity, (text, score) in enumerate(pieces):
        kind = kinds.UNKNOWN if identity == unknown else kinds.NORMAL
        if identity != unknown and identity in added:
            special = identity in (tokenizer.pad_token_id, tokenizer.eos_token_id)
            kind = kinds.CONTROL if special else kinds.USER_DEFINED
        model.pieces.add(piece=text, score=score, type=kind)
    trainer = model.trainer_spec
    trainer.model_type, trainer.vocab_size = proto.TrainerSpec.UNIGRAM, len(pieces)
    trainer.unk_id, trainer.bos_id = unknown, -1
    trainer.eos_id, trainer.pad_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    trainer.unk_piece = pieces[unknown][0]
    trainer.eos_piece, trainer.pad_piece = pieces[trainer.eos_id][0], pieces[trainer.pad_id][0]
    model.normalizer_spec.precompiled_charsmap = precompiled(state["normalizer"])
    path.write_bytes(model.SerializeToString())
    check_ids(tokenizer, SentencePieceFile(path.read_bytes(), length), path.stem, length)
    return {"backend": "sentencepiece", **fields}


def cut(text: str, literals: dict[str, int]) -> list[str | int]:
    """The ids of literals, leftmost and longest first, and the text between them."""
    if not literals:
        return [text]
    parts: list[str | int] = []
    start = 0
    longest = sorted(literals, key=len, reverse=True)
    for found in regex.finditer("|".join(map(regex.escape, longest)), text):
        parts += [text[start : found.start()], literals[found[0]]]
        start = found.end()
    return [*parts, text[start:]]


class SentencePieceFile:
    """What docs/exporting.md says a sentencepiece component does, for the check of the file written."""

    def __init__(self, content: bytes, length: int) -> None:
        self.length = length
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=content)
        kinds = proto.ModelProto.SentencePiece
        special = (kinds.CONTROL, kinds.UNKNOWN, kinds.USER_DEFINED)
        pieces = proto.ModelProto.FromString(content).pieces
        self.literals = {piece.piece: i for i, piece in enumerate(pieces) if piece.type in special}

    def ids(self, text: str) -> list[int]:
        ids: list[int] = []
        for part in cut(text, self.literals):
            ids += [part] if isinstance(part, int) else self.processor.EncodeAsIds(part)
        ids = [*ids[: self.length - 1], self.processor.eos_id()]
        return ids + [self.processor.pad_id()] * (self.length - len(ids))


class ClipFile:
    """What docs/exporting.md says a clip-bpe component does, for the check of the file written."""

    def __init__(self, content: dict, fields: dict) -> None:
        self.content, self.fields = content, fields
        self.ranks = {tuple(pair): rank for rank, pair in enumerate(content["merges"])}
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in printable]
        self.symbols = dict(zip(printable + others, byte_symbols(), strict=True))

    def added(self, normalized: bool) -> dict[str, int]:
        chosen = [token for token in self.content["added"] if token["normalized"] == normalized]
        return {self.normalise(t["text"]) if normalized else t["text"]: t["id"] for t in chosen}

    @staticmethod
    def normalise(text: str) -> str:
        spaced = regex.sub(r"\s+", " ", unicodedata.normalize("NFC", text))
        return "".join(character.lower() for character in spaced)

    @staticmethod
    def words(text: str) -> list[str]:
        matches = CLIP_PATTERN.findall(text)
        return [
            w
            for m in matches
            for w in (["<|", m[2:-2], "|>"] if m[:2] == "<|" and m[2:].endswith("text|>") else [m])
        ]

    def merged(self, word: str) -> list[str]:
        parts = [self.symbols[byte] for byte in word.encode()]
        parts[-1] += self.content["suffix"]
        while pairs := [(self.ranks[p], i) for i, p in enumerate(zip(parts, parts[1:])) if p in self.ranks]:
            _, i = min(pairs)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        return parts

    def ids(self, prompt: str) -> list[int]:
        vocabulary, ids = self.content["vocabulary"], []
        for piece in cut(prompt, self.added(normalized=False)):
            parts = (
                [piece]
                if isinstance(piece, int)
                else cut(self.normalise(piece), self.added(normalized=True))
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


def check_ids(
    tokenizer: PreTrainedTokenizerBase, stored: ClipFile | SentencePieceFile, name: str, length: int
) -> None:
    for prompt in PROMPTS:
        expected = tokenizer(prompt, padding="max_length", max_length=length, truncation=True).input_ids
        ids = stored.ids(prompt)
        require(
            ids == expected,
            f"{name}: the prompt {prompt[:40]!r} becomes {ids[:12]}, not {expected[:12]}",
        )
