"""Writes src/cli/findings.inc: what `glint list` says was measured of each method.

    tools/results/findings.py [--check]

Reads docs/results.md and docs/caches.md, which are written from measurements. Only bundled models count, and
of judges only those that did not choose a method's noises.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "src/cli/findings.inc"
HEAD = "// Made by tools/results/findings.py from docs/results.md and docs/caches.md.\n"


def table_rows(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """(model, method without options, cells) of every row about one method."""
    model = ""
    for line in text.splitlines():
        if line.startswith("## "):
            model = line[3:].split(",")[0]
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("| `") else []
        if cells and " + " not in cells[0]:
            yield model, cells[0].strip("`").split(":")[0], cells


def of_methods(text: str) -> dict[str, str]:
    """From docs/results.md: whether plain sampling of the same scale and of the same cost was beaten."""
    gains: dict[str, bool] = {}
    for _, name, cells in table_rows(text):
        if "chose its noises" not in cells[-1]:
            gains[name] = gains.get(name, False) or cells[-1].startswith("better than both")
    words = {
        True: "better than plain sampling of the same scale and cost",
        False: "no gain over plain sampling of the same scale and cost",
    }
    return {name: words[gain] for name, gain in gains.items()}


def of_caches(text: str) -> dict[str, str]:
    """From docs/caches.md: whether fewer steps were beaten, and where."""
    wins: dict[str, list[str]] = {}
    for model, name, cells in table_rows(text):
        if not model.startswith("emoji"):
            continue
        won = wins.setdefault(name, [])
        if any(re.search(r"\*\*beats\*\*", cell) for cell in cells) and model not in won:
            won.append(model)
    return {
        name: f"beats fewer steps on {' and '.join(won)}" if won else "no better than fewer steps"
        for name, won in wins.items()
    }


def findings() -> str:
    found = of_methods((ROOT / "docs/results.md").read_text(encoding="utf-8"))
    found |= of_caches((ROOT / "docs/caches.md").read_text(encoding="utf-8"))
    return HEAD + "".join(f'{{"{name}", "{words}"}},\n' for name, words in sorted(found.items()))


def main() -> None:
    text = findings()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text, encoding="utf-8")
    elif TARGET.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{TARGET.name} is not what the pages say; run tools/results/findings.py")


if __name__ == "__main__":
    main()
