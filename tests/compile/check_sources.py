#!/usr/bin/env python3
"""Rules about the source files that a compiler does not check. Usage: check_sources.py ROOT [RULE...]

Every rule prints one line per violation; the exit status is 1 if there is any.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

CODE = {".hpp", ".h", ".cpp", ".c", ".cu", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')

# These parse most of libtorch: 13 to 70 seconds in every file that includes them.
BANNED = {"torch/torch.h", "torch/all.h", "torch/extension.h", "ATen/ATen.h"}

# These cost 8 to 25 seconds each and are needed only where a stored network is loaded or rewritten.
HEAVY = re.compile(r"^torch/(script\.h|csrc/jit/|csrc/inductor/|nativert/)")
HEAVY_FOLDERS = ("src/model/", "src/attention/")
HEAVY_FILES = 4
HEAVY_TESTS = {"tests/unit/attention_rewrite.tests.cpp"}

MAX_LINES = 500

# A file may include its own layer and those before it. Folders end in "/"; the rest are single files, without suffix,
# of include/glint and of src.
LAYERS: list[tuple[str, ...]] = [
    ("error", "export", "fwd", "options", "pch", "tensor", "version"),
    ("core/",),
    ("image/", "io/"),
    ("attention/", "build_context", "guidance/", "model/", "nets/", "ops/", "solver/", "text/", "vae/"),
    ("leg", "observer", "request", "run"),
    ("step/",),
    ("noise/",),
    ("sampler",),
    ("builtins", "option_values", "registry"),
    ("pipeline",),
    ("collect/",),
    ("capi/", "cli/", "glint"),
]


def code_files(root: Path, *folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(path for path in (root / folder).rglob("*") if path.suffix in CODE)


def includes(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yields line number, "<" or '"', and what is included."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if match := INCLUDE.match(line):
            yield number, match[1], match[2]


def banned_includes(root: Path) -> Iterator[str]:
    """Headers that include all of libtorch are used nowhere; heavy ones only in a few named places."""
    heavy = set()
    for path in code_files(root, "include", "src", "tests", "examples"):
        name = path.relative_to(root).as_posix()
        for number, _, header in includes(path):
            if header in BANNED:
                yield f"{name}:{number}: {header} is banned; include <glint/tensor.hpp> or the operator's own header"
            if HEAVY.match(header) and name not in HEAVY_TESTS:
                heavy.add(name)
                if not name.startswith(HEAVY_FOLDERS):
                    yield f"{name}:{number}: {header} may be included only below {' and '.join(HEAVY_FOLDERS)}"
    if len(heavy) > HEAVY_FILES:
        yield f"{len(heavy)} files include script, jit, inductor or nativert headers, at most {HEAVY_FILES} may: {sorted(heavy)}"


def layer_of(name: str) -> int | None:
    """The layer of a path relative to include/glint or src."""
    stem = name.rsplit(".", 1)[0]
    for rank, members in enumerate(LAYERS):
        if stem in members or any(member.endswith("/") and name.startswith(member) for member in members):
            return rank
    return None


def include_direction(root: Path) -> Iterator[str]:
    """Includes point from later layers to earlier ones, never back."""
    bases = (root / "include/glint", root / "src")
    for base in bases:
        for path in code_files(root, base.relative_to(root).as_posix()):
            name = path.relative_to(base).as_posix()
            shown = path.relative_to(root).as_posix()
            rank = layer_of(name)
            if rank is None:
                yield f"{shown}: in no layer; add it to LAYERS in tests/compile/check_sources.py"
                continue
            for number, _, header in includes(path):
                target = header.removeprefix("glint/")
                if "/" not in target and (path.parent / target).exists():
                    continue  # a neighbour in the same folder
                if not any((other / target).exists() for other in bases):
                    continue  # not ours
                target_rank = layer_of(target)
                if target_rank is not None and target_rank > rank:
                    yield f"{shown}:{number}: {target} belongs to a later layer"


def file_lists(root: Path) -> Iterator[str]:
    """Every source file is named in the CMakeLists.txt of its tree: nothing is globbed, nothing forgotten."""
    for folder, pattern in (("src", "*.cpp"), ("tests", "*.tests.cpp"), ("examples", "*.c*"), ("tests/bench", "*.cpp")):
        lists = root / folder / "CMakeLists.txt"
        text = lists.read_text(encoding="utf-8") if lists.exists() else ""
        for path in sorted((root / folder).rglob(pattern)):
            name = path.relative_to(root / folder).as_posix()
            listed = name in text or (folder == "examples" and path.stem in text) or path.stem == "pch"
            if not listed and path.suffix in CODE:
                yield f"{folder}/{name}: not listed in {folder}/CMakeLists.txt"


def file_length(root: Path) -> Iterator[str]:
    """One concept per file: at most 500 lines."""
    for path in code_files(root, "include", "src", "tests", "examples"):
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines > MAX_LINES:
            yield f"{path.relative_to(root).as_posix()}: {lines} lines, at most {MAX_LINES} are allowed"


RULES = {
    "banned-includes": banned_includes,
    "include-direction": include_direction,
    "file-lists": file_lists,
    "file-length": file_length,
}


def main(arguments: list[str]) -> int:
    root, names = Path(arguments[0]), arguments[1:] or list(RULES)
    violations = [violation for name in names for violation in RULES[name](root)]
    print("\n".join(violations))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
