"""What the package ftfy knows of damaged text, as the library has it.

    python tools/golden/mojibake_tables.py            writes src/text/mojibake_tables.hpp
    python tools/golden/mojibake_tables.py --check    fails if it is not what ftfy has
"""

from __future__ import annotations

import html
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import ftfy.bad_codecs  # noqa: F401, which registers the sloppy encodings
import generated
from ftfy import badness, chardata

FILE = Path(__file__).resolve().parents[2] / "src/text/mojibake_tables.hpp"
WIDTH = 108
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
TOP = 0x110000
HEAD = """// What the package ftfy knows of damaged text. Made by tools/golden/mojibake_tables.py.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace glint::detail {

/// Characters from `first` to `last` belong to the classes whose bits are set; those of no span to `others`.
struct ClassSpan {
  char32_t first, last;
  uint64_t classes;
};

"""
Parser = re._parser  # the standard library's own, which has no public name
Parsed = list[tuple[object, object]]


@dataclass(frozen=True)
class Class:
    characters: frozenset[int]
    negated: bool = False
    category: str = ""  # "s" or "w" if white space or word characters belong to it too

    def __contains__(self, character: int) -> bool:
        return (character in self.characters) != self.negated


class Classes:
    """The classes of characters of one expression, each a letter."""

    def __init__(self) -> None:
        self.sets: list[Class] = []

    def letter(self, found: Class) -> str:
        if found not in self.sets:
            self.sets.append(found)
        return LETTERS[self.sets.index(found)]

    def bits(self, category: str) -> int:
        return sum(1 << i for i, found in enumerate(self.sets) if found.category == category)

    def spans(self) -> tuple[list[tuple[int, int, int]], int]:
        edges = {0, TOP}
        for each in self.sets:
            edges |= {c for c in each.characters if c - 1 not in each.characters}
            edges |= {c + 1 for c in each.characters if c + 1 not in each.characters}
        ordered = sorted(edges)
        others = self.mask(TOP - 1)
        found = [(a, b - 1, self.mask(a)) for a, b in zip(ordered, ordered[1:], strict=False)]
        return [span for span in found if span[2] != others], others

    def mask(self, character: int) -> int:
        return sum(1 << i for i, found in enumerate(self.sets) if character in found)


def class_of(node: tuple[object, object]) -> Class:
    kind, value = str(node[0]), node[1]
    match kind:
        case "LITERAL":
            return Class(frozenset({value}))
        case "NOT_LITERAL":
            return Class(frozenset({value}), negated=True)
        case "ANY":
            return Class(frozenset({ord("\n")}), negated=True)
        case "RANGE":
            return Class(frozenset(range(value[0], value[1] + 1)))
        case "CATEGORY":
            return Class(frozenset(), False, {"CATEGORY_SPACE": "s", "CATEGORY_WORD": "w"}[str(value)])
        case "IN":
            negated = str(value[0][0]) == "NEGATE"
            parts = [class_of(part) for part in value[negated:]]
            union = frozenset().union(*(p.characters for p in parts))
            return Class(union, negated, "".join(p.category for p in parts))
    raise ValueError(f"{kind} is not known")


def sequences(parsed: Parsed, classes: Classes) -> list[str]:
    """All sequences of classes that an expression without loops matches, in its order of preference."""
    found = [""]
    for node in parsed:
        kind, value = str(node[0]), node[1]
        match kind:
            case "BRANCH":
                tails = [tail for branch in value[1] for tail in sequences(branch, classes)]
            case "SUBPATTERN":
                tails = sequences(value[3], classes)
            case "AT":
                tails = ["^"]
            case "MAX_REPEAT":
                least, most, inner = value
                one = sequences(inner, classes)
                assert int(most) <= 3 and len(one) == 1
                tails = [one[0] * n for n in range(int(most), least - 1, -1)]
            case _:
                tails = [classes.letter(class_of(node))]
        found = [head + tail for head in found for tail in tails]
    return found


def pattern(name: str, about: str, parsed: Parsed, extra: Parsed = ()) -> str:
    classes = Classes()
    outside = "".join(classes.letter(class_of(node)) for node in extra)
    known = sequences(parsed, classes)
    spans, others = classes.spans()
    assert len(classes.sets) <= 64 and not outside.strip("A")
    rows = [f"{{{a:#x}, {b:#x}, {mask:#x}}}" for a, b, mask in spans]
    words = [f'"{word}"' for word in known]
    return (
        f"{about}\ninline constexpr std::array<ClassSpan, {len(spans)}> {name}Spans{{{{\n"
        f"{wrapped(rows)}}}}};\n"
        f"inline constexpr std::array<std::string_view, {len(words)}> {name}Sequences{{\n"
        f"{wrapped(words)}}};\n"
        f"inline constexpr uint64_t {name}Others = {others:#x}, {name}Spaces = {classes.bits('s'):#x}, "
        f"{name}Words = {classes.bits('w'):#x};\n\n"
    )


def wrapped(items: list[str]) -> str:
    lines = ["   "]
    for i, item in enumerate(items):
        text = f" {item}" + ("," if i + 1 < len(items) else "")
        if len(lines[-1]) + len(text) > WIDTH:
            lines.append("   ")
        lines[-1] += text
    return "\n".join(lines)


def quoted(text: str, prefix: str = "U") -> str:
    parts = "".join(
        c if " " <= c <= "~" and c not in '"\\?' else f"\\U{ord(c):08X}" if ord(c) > 0xFFFF else hexed(c)
        for c in text
    )
    return f'{prefix}"{parts}"'


def hexed(character: str) -> str:
    # Universal names below U+00A0 are not allowed.
    code = ord(character)
    return f"\\{code:03o}" if code < 0xA0 else f"\\u{code:04X}"


def strings(pieces: list[str]) -> str:
    return "\n".join(f"    {piece}" for piece in pieces)


def pages() -> str:
    rows = []
    for encoding in chardata.CHARMAP_ENCODINGS:
        text = bytes(range(128, 256)).decode(encoding)
        assert len(text) == 128
        rows.append(f"    // {encoding}\n" + strings([quoted(text[i : i + 16]) for i in range(0, 128, 16)]))
    return (
        "/// What the bytes from 0x80 on are in the encodings that text is mistaken for, in the order\n"
        "/// tried. In those called sloppy, 0x1A is the replacement character.\n"
        f"inline constexpr std::array<std::u32string_view, {len(rows)}> kCodePages{{\n" + ",\n".join(rows)
        + "};\ninline constexpr size_t kLatin1 = 0, kWindows1252 = 1, kFirstSloppy = 1, kLastSloppy = 6, "
        "kMacRoman = 8;\n\n"
    )


def replacements(name: str, about: str, table: dict[int, str]) -> str:
    """Characters and what replaces them."""
    rows = [f"{{{code:#x}, {quoted(text)}}}" for code, text in sorted(table.items())]
    return (
        f"{about}\ninline constexpr std::array<Replacement, {len(rows)}> {name}{{{{\n"
        f"{wrapped(rows)}}}}};\n\n"
    )


def upper_entities() -> str:
    """Names that are known in capitals too, whose meaning is not the capital of one letter."""
    known = {name for name in chardata.HTML_ENTITIES if name[1:-1] == name[1:-1].upper()}
    odd = {}
    for name in sorted(known):
        lower = chardata.HTML_ENTITIES.get(name.lower())
        if html.unescape(name) != name or lower is None:
            continue
        meaning = chardata.HTML_ENTITIES[name]
        if len(lower) > 1 or len(meaning) > 1:
            odd[name[1:-1]] = meaning
    rows = [f'{{"{name}", {quoted(text)}}}' for name, text in odd.items()]
    return (
        "struct NamedText {\n  std::string_view name;\n  std::u32string_view text;\n};\n\n"
        "/// Entities in capitals that are not the capital of one letter.\n"
        f"inline constexpr std::array<NamedText, {len(rows)}> kUpperEntities{{{{\n{wrapped(rows)}}}}};\n\n"
    )


def source() -> str:
    bad = Parser.parse(badness.BADNESS_RE.pattern, badness.BADNESS_RE.flags)
    [(_, (_, branches))] = bad
    half = len(branches) // 2
    detector = list(Parser.parse(chardata.UTF8_DETECTOR_RE.pattern, chardata.UTF8_DETECTOR_RE.flags))
    (_, (_, behind)), (_, (_, _, group)) = detector
    altered, lossy = (Parser.parse(e.pattern.decode("latin-1"), 0) for e in
                      (chardata.ALTERED_UTF8_RE, chardata.LOSSY_UTF8_RE))  # fmt: skip
    return (
        HEAD
        + pattern("kBad", "/// Sequences of classes that show mojibake; ^ is the beginning of the text.",
                  [("BRANCH", (None, branches[:half]))])
        + pattern("kWorse", "/// More of them; together they have too many classes for one word.",
                  [("BRANCH", (None, branches[half:]))])
        + pattern("kDetector", "/// Sequences that may be UTF-8 read as another encoding, unless class A is "
                  "before them.", group, behind)
        + pattern("kAltered", "/// UTF-8 whose bytes 0xA0 became spaces.", altered)
        + pattern("kLossy", "/// UTF-8 with bytes lost.", lossy)
        + pages()
        + "struct Replacement {\n  char32_t from;\n  std::u32string_view to;\n};\n\n"
        + replacements("kLigatures", "/// Latin ligatures and digraphs.", chardata.LIGATURES)
        + replacements("kWidths", "/// Halfwidth and fullwidth forms.", chardata.WIDTH_MAP)
        + upper_entities()
    ).rstrip("\n") + "\n\n}  // namespace glint::detail\n"  # fmt: skip


if __name__ == "__main__":
    sys.exit(generated.main(__doc__, FILE, source))
