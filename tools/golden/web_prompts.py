"""Five hundred damaged prompts as Wan's pipeline cleans them, and the ids they get.

    PYTHONPATH=FOLDER python tools/golden/web_prompts.py            writes web_prompts.json
    PYTHONPATH=FOLDER python tools/golden/web_prompts.py --check    fails if it is not what the pipeline gives

The file is in tests/data/families. FOLDER has ftfy 6.3.1, which is not among the pins:
pip install --target FOLDER ftfy==6.3.1. The ids of the prompts of families.py are made anew as well, which
have to be cleaned with ftfy. Of each prompt the file has the first 8 hex digits of the SHA-256 of its ids as
little-endian int32.
"""

from __future__ import annotations

import argparse
import hashlib
import html.entities
import json
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import ftfy
import numpy as np
from diffusers import DiffusionPipeline
from diffusers.pipelines.wan import pipeline_wan
from ftfy.chardata import CHARMAP_ENCODINGS, HTML_ENTITIES, LIGATURES, WIDTH_MAP
from prompts import PROMPTS, SENTENCES
from safetensors.torch import load_file, save_file
from tiny_pipelines import saved
from torch import from_numpy

DATA = Path(__file__).resolve().parents[2] / "tests/data/families"
COUNT = 500
SOURCES = (
    "voilà le travail, à la mode de Café Zoë", "“curly” ‘quotes’ – and — dashes…", "smörgåsbord für Ängste",
    "Собака в снегу", "γάτα στο χιόνι", "猫と犬、漢字カナ交じり文。", "빨간 사과", "x² + y³ ≠ ½ ± ∞", "price: 5 € or £3 or ¥9",
    "naïve coöperation — «résumé»", "Dvořák řekl: žluťoučký kůň", "Zażółć gęślą jaźń", "ĆIĆ šuma čvor đak",
    "🦊 in the snow 😀 👩‍👩‍👧‍👦", "don’t say “no” to ﬁne ﬂow", "İstanbul'da ışık",
    "हिन्दी और தமிழ்", "كلب أحمر في الثلج",
    "à á â ã ä å às àquele", "Ünïcödé ÀÁÂÃ", "• one ■ two ™ © ®", "Ľúbim ťa", "ąčęėįšųūž", "20°C, ×3 ÷ 2",
)  # fmt: skip


def mojibake(draw: random.Random, text: str) -> str:
    for _ in range(draw.choice((1, 1, 1, 2))):
        encoding = draw.choice((*CHARMAP_ENCODINGS, "latin-1", "sloppy-windows-1252", "sloppy-windows-1252"))
        text = text.encode().decode(encoding)
    return text


def spaced(draw: random.Random, text: str) -> str:
    return mojibake(draw, text).replace("\u00a0", " ")


def lossy(draw: random.Random, text: str) -> str:
    wrong = text.encode().decode("windows-1252", errors="replace")
    return wrong if draw.random() < 0.6 else wrong.replace("\ufffd", "?", 1)


def partly(draw: random.Random, text: str) -> str:
    return f"{draw.choice(SOURCES)} {mojibake(draw, text)} {draw.choice(SOURCES)}"


def surrogates(draw: random.Random, text: str) -> str:
    units = (text + draw.choice("😀🦊𝒥")).encode("utf-16-be")
    halves = [int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2)]
    bytes_of = b"".join(chr(half).encode("utf-8", "surrogatepass") for half in halves)
    return (bytes_of + draw.choice((b"", b"\xc0\x80"))).decode("latin-1")


def entities(draw: random.Random, text: str) -> str:
    numbers = [f"&#{draw.randint(0, 300)};", f"&#x{draw.randint(0, 0x11000):x};", f"&#{draw.randint(0, 255)}"]
    names = draw.sample(sorted(html.entities.html5), 6)
    parts = [*text.split(), *(f"&{name}" for name in names), *numbers]
    draw.shuffle(parts)
    joined = " ".join(parts)
    return joined if draw.random() < 0.7 else joined.replace("&", "&amp;")


def controls(draw: random.Random, text: str) -> str:
    extra = ["\x1b[36;44m", "\x1b[0m", "\x1b[2K", "\x07", "\ufeff", "\u200b", "\u2028", "\u2029", "\r\n",
             "\r", "\x85", "\x0b", "\x0c", "\u206a", "\ufffc", "\x92", "\x81", "\u00ad", "\u3000",
             "\t"]  # fmt: skip
    parts = list(text)
    for _ in range(5):
        parts.insert(draw.randint(0, len(parts)), draw.choice(extra))
    return "".join(parts)


def typeset(draw: random.Random, text: str) -> str:
    odd = [chr(code) for code in (*LIGATURES, *WIDTH_MAP)] + list("‘’‚‛“”„‟ʼ")
    return f"{''.join(draw.sample(odd, 12))} {text} {''.join(draw.sample(odd, 12))}"


def lines(draw: random.Random, text: str) -> str:
    tag = draw.choice(("<b>", "a < b", ""))
    return f"&eacute; {draw.choice(SOURCES)}\n{tag} &EACUTE; {mojibake(draw, text)}\n{text} &lt;&szlig;"


KINDS: tuple[Callable[[random.Random, str], str], ...] = (
    mojibake, mojibake, spaced, lossy, partly, surrogates, entities, controls, typeset, lines,
)  # fmt: skip


def damaged(seed: int = 20261128) -> list[str]:
    draw = random.Random(seed)
    named = sorted(f"&{name}" for name in html.entities.html5)
    capitals = sorted(name for name in HTML_ENTITIES if name[1:-1] == name[1:-1].upper())
    found = [" ".join(names[i::20]) for names in (named, capitals) for i in range(20)]
    found += [*SOURCES, *PROMPTS[:60]]
    while len(found) < COUNT:
        text = draw.choice((*SOURCES, *SOURCES, draw.choice(SENTENCES)))
        try:
            found.append(draw.choice(KINDS)(draw, text))
        except UnicodeDecodeError:  # an encoding that has not all bytes
            continue
    return found[:COUNT]


def cleaned(text: str) -> str:
    if ftfy.__version__ != "6.3.1" or not pipeline_wan.is_ftfy_available():
        raise SystemExit("web_prompts.py: expected ftfy 6.3.1")
    return pipeline_wan.prompt_clean(text)


def ids(tokenizer: object, texts: list[str]) -> np.ndarray:
    rows = tokenizer([cleaned(t) for t in texts], padding="max_length", max_length=512, truncation=True)
    return np.array(rows.input_ids, dtype="<i4")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as work:
        tokenizer = DiffusionPipeline.from_pretrained(str(saved("wan", Path(work)))).tokenizer
    texts = damaged()
    told = [
        {"prompt": text, "cleaned": cleaned(text), "ids": hashlib.sha256(row.tobytes()).hexdigest()[:8]}
        for text, row in zip(texts, ids(tokenizer, texts), strict=True)
    ]
    content = "[\n" + ",\n".join(json.dumps(each, ensure_ascii=False) for each in told) + "\n]\n"
    stored = load_file(DATA / "ids.safetensors")
    prompts = from_numpy(ids(tokenizer, PROMPTS))
    path = DATA / "web_prompts.json"
    if check:
        same = path.read_text(encoding="utf-8") == content and stored["wan.tokenizer"].equal(prompts)
        return 0 if same else 1
    path.write_text(content, encoding="utf-8")
    save_file(stored | {"wan.tokenizer": prompts}, DATA / "ids.safetensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
