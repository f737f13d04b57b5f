"""HTML's named character references, as the library has them.

    python tools/golden/html_entities.py            writes src/text/html_entities.hpp
    python tools/golden/html_entities.py --check    fails if it is not what Python's html module has
"""

from __future__ import annotations

import html.entities
import sys
from pathlib import Path

import generated

FILE = Path(__file__).resolve().parents[2] / "src/text/html_entities.hpp"
WIDTH = 100
HEAD = """// HTML's 2231 named character references. Made by tools/golden/html_entities.py.
#pragma once

#include <string_view>

namespace glint::detail {

/// Entries "name:points ", sorted by name; "name.points " for those that need no semicolon. Points are
/// hexadecimal, one or two with '+' between them.
inline constexpr std::string_view kHtmlEntities =
"""


def entries() -> list[str]:
    known = html.entities.html5
    found = []
    for name in sorted(key[:-1] for key in known if key.endswith(";")):
        text = known[name + ";"]
        assert known.get(name, text) == text
        found.append(f"{name}{'.' if name in known else ':'}{'+'.join(f'{ord(c):X}' for c in text)} ")
    assert all(key.endswith(";") or key + ";" in known for key in known)
    return found


def source() -> str:
    lines = [""]
    for entry in entries():
        if len(lines[-1]) + len(entry) > WIDTH:
            lines.append("")
        lines[-1] += entry
    body = "\n".join(f'    "{line}"' for line in lines)
    return f"{HEAD}{body};\n\n}}  // namespace glint::detail\n"


if __name__ == "__main__":
    sys.exit(generated.main(__doc__, FILE, source))
