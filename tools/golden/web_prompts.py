"""Five hundred damaged prompts as Wan's pipeline cleans them, and the ids they get.

    python tools/golden/web_prompts.py            writes web_prompts.json
    python tools/golden/web_prompts.py --check    fails if it is not what the pipeline gives

The file is in tests/data/families. Of each prompt it has the first 8 hex digits of the SHA-256 of its ids as
little-endian int32.
"""

from __future__ import annotations

import argparse
import html.entities
import json
import random
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from ftfy.chardata import CHARMAP_ENCODINGS, HTML_ENTITIES, LIGATURES, WIDTH_MAP
from prompts import PROMPTS, SENTENCES
from tiny_pipelines import t5_tokenizer

FILE = Path(__file__).resolve().parents[2] / "tests/data/families/web_prompts.json"
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


def damaged(seed: int = 20261128, count: int = COUNT) -> list[str]:
    draw = random.Random(seed)
    named = sorted(f"&{name}" for name in html.entities.html5)
    capitals = sorted(name for name in HTML_ENTITIES if name[1:-1] == name[1:-1].upper())
    found = [" ".join(names[i::20]) for names in (named, capitals) for i in range(20)]
    found += [*SOURCES, *PROMPTS[:60]]
    while len(found) < count:
        text = draw.choice((*SOURCES, *SOURCES, draw.choice(SENTENCES)))
        try:
            found.append(draw.choice(KINDS)(draw, text))
        except UnicodeDecodeError:  # an encoding that has not all bytes
            continue
    return found[:count]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    texts = damaged()
    cleaned = [prompt_clean(text) for text in texts]
    rows = t5_tokenizer(512)(cleaned, padding="max_length", max_length=512, truncation=True).input_ids
    digests = [sha256(np.array(row, dtype="<i4").tobytes()).hexdigest()[:8] for row in rows]
    told = [
        {"prompt": text, "cleaned": clean, "ids": digest}
        for text, clean, digest in zip(texts, cleaned, digests, strict=True)
    ]
    content = "[\n" + ",\n".join(json.dumps(each, ensure_ascii=False) for each in told) + "\n]\n"
    if check:
        return 0 if FILE.read_text(encoding="utf-8") == content else 1
    FILE.write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
