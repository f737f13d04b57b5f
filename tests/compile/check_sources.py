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
HEAVY_FOLDER = "src/network/"
HEAVY_FILES = 6
HEAVY_TESTS = {
    "tests/unit/attention_rewrite.tests.cpp",
    "tests/compile/hosts/torch_first.cpp",
    "tests/compile/hosts/torch_last.cpp",
}

MAX_LINES = 500
MAX_FUNCTION = 80
MAX_KERNEL = 150  # a function of src/ops
MAX_COLUMNS = 110

# A folder may include the folders before it. Those of one line do not include each other. A subfolder belongs
# to its folder.
LAYERS: list[tuple[str, ...]] = [
    ("core",),
    ("model",),
    ("guidance", "solver", "attention"),
    ("sampling",),
    ("step", "noise", "cache"),
    ("io", "ops"),
    ("image",),
    ("network",),
    ("family",),
    ("text", "vae", "lora"),
    ("bundle",),
    ("catalog",),
    ("pipeline",),
    ("collect", "eval"),
    ("capi", "cli"),
]

# What lies loose in include/glint and src. All but the umbrellas may be included anywhere.
LOOSE = {"core", "export", "fwd", "glint", "version"}

# The light core: these folders, and of the catalog what needs no bundle.
CORE_HEADERS = re.compile(
    r"glint/(export|fwd|version|(core|model|guidance|solver|attention|sampling|step|noise)/\w+"
    r"|catalog/(build_context|option_values|registry))\.hpp"
)
# In no umbrella: one of the two tensors, included by core/tensor.hpp, and what stands around other libraries'
# headers.
APART = {"glint/core/host_tensor.hpp", "glint/core/host_macros_off.hpp", "glint/core/host_macros_on.hpp"}


def code_files(root: Path, *folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(path for path in (root / folder).rglob("*") if path.suffix in CODE)


def python_files(root: Path) -> Iterator[Path]:
    for folder in ("tests", "tools"):
        yield from sorted((root / folder).rglob("*.py"))


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
                instead = "<glint/core/tensor.hpp> or the operator's own header"
                yield f"{name}:{number}: {header} is banned; include {instead}"
            if HEAVY.match(header) and name not in HEAVY_TESTS:
                heavy.add(name)
                if not name.startswith(HEAVY_FOLDER):
                    yield f"{name}:{number}: {header} may be included only below {HEAVY_FOLDER}"
    if len(heavy) > HEAVY_FILES:
        kinds = "script, jit, inductor or nativert headers"
        yield f"{len(heavy)} files include {kinds}, at most {HEAVY_FILES} may: {sorted(heavy)}"


def layer_of(folder: str) -> int | None:
    return next((rank for rank, folders in enumerate(LAYERS) if folder in folders), None)


def include_direction(root: Path) -> Iterator[str]:
    """A file includes its own folder and those of earlier layers, never a later one and never a neighbour."""
    bases = (root / "include/glint", root / "src")
    for base in bases:
        for path in code_files(root, base.relative_to(root).as_posix()):
            place = path.relative_to(base).parts
            shown = path.relative_to(root).as_posix()
            if len(place) == 1:
                if path.stem not in LOOSE:
                    yield f"{shown}: lies loose; only {', '.join(sorted(LOOSE))} may"
                continue
            rank = layer_of(place[0])
            if rank is None:
                yield f"{shown}: in no layer; add its folder to LAYERS in tests/compile/check_sources.py"
                continue
            for number, mark, header in includes(path):
                target = header.removeprefix("glint/").split("/")
                ours = any((other / header.removeprefix("glint/")).exists() for other in bases)
                if not ours or target[0] == place[0]:
                    continue
                if len(target) == 1:
                    if target[0] in {"glint.hpp", "core.hpp"}:
                        yield f"{shown}:{number}: includes everything"
                    continue
                other = layer_of(target[0])
                if other is not None and other > rank:
                    yield f"{shown}:{number}: {target[0]} is a later layer than {place[0]}"
                elif other == rank:
                    advice = "put what they share into an earlier layer"
                    yield f"{shown}:{number}: {target[0]} stands beside {place[0]}; {advice}"


def file_lists(root: Path) -> Iterator[str]:
    """Every source file is named in the CMakeLists.txt of its tree: nothing is globbed, nothing forgotten."""
    for folder, pattern in (
        ("src", "*.cpp"),
        ("tests", "*.tests.cpp"),
        ("examples", "*.c*"),
        ("tests/bench", "*.cpp"),
    ):
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


# A line at which a C++ function's body may begin: not indented, or inside a class; no type, no namespace.
FUNCTION = re.compile(r"^(\s*)(?!namespace|struct|class|enum|union|extern|#|//)\S.*\)[^;{}]*\{$")


def function_length(root: Path) -> Iterator[str]:
    """A function fits on a screen and a half; kernels may be longer."""
    for path in code_files(root, "include", "src", "tests", "examples"):
        shown = path.relative_to(root).as_posix()
        limit = MAX_KERNEL if shown.startswith("src/ops/") else MAX_FUNCTION
        lines = path.read_text(encoding="utf-8").splitlines()
        begin, indent = None, ""
        for number, line in enumerate(lines, 1):
            if begin is None:
                if match := FUNCTION.match(line):
                    begin, indent = number, match[1]
            elif line.startswith(indent + "}"):
                if number - begin + 1 > limit:
                    length = number - begin + 1
                    yield f"{shown}:{begin}: a function of {length} lines, at most {limit} are allowed"
                begin = None


def line_width(root: Path) -> Iterator[str]:
    """No line is wider than clang-format makes code."""
    for path in [*code_files(root, "cmake", "include", "src", "tests", "examples"), *python_files(root)]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if len(line) > MAX_COLUMNS:
                shown = path.relative_to(root).as_posix()
                yield f"{shown}:{number}: {len(line)} columns, at most {MAX_COLUMNS} are allowed"


def named_aggregates(root: Path) -> Iterator[str]:
    """An aggregate inside an aggregate names its type.

    With bare braces, g++ 12 destroys the inner one twice if a later initialiser throws.
    """
    for path in code_files(root, "include", "src", "examples"):
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"\.(\w+) = \{\s*\.", text):
            line = text.count("\n", 0, match.start()) + 1
            shown = path.relative_to(root).as_posix()
            reason = "g++ 12 destroys a bare one twice when a later one throws"
            yield f"{shown}:{line}: name the type of {match[1]}: {reason}"


def umbrella(root: Path) -> Iterator[str]:
    """glint.hpp includes every public header, core.hpp those of the light core."""
    base = root / "include/glint"
    listed = {}
    for umbrella_name in ("glint.hpp", "core.hpp"):
        path = base / umbrella_name
        listed[umbrella_name] = path.read_text(encoding="utf-8") if path.exists() else ""
    for path in code_files(root, "include/glint"):
        name = path.relative_to(root / "include").as_posix()
        if path.suffix == ".h" or path.parent == base and path.name in listed or name in APART:
            continue
        if f"#include <{name}>" not in listed["glint.hpp"]:
            yield f"include/{name}: not in glint.hpp"
        if listed["core.hpp"] and bool(CORE_HEADERS.fullmatch(name)) != (
            f"#include <{name}>" in listed["core.hpp"]
        ):
            yield f"include/{name}: {'not ' if CORE_HEADERS.fullmatch(name) else ''}in core.hpp"


RULES = {
    "banned-includes": banned_includes,
    "include-direction": include_direction,
    "file-lists": file_lists,
    "file-length": file_length,
    "function-length": function_length,
    "line-width": line_width,
    "named-aggregates": named_aggregates,
    "umbrella": umbrella,
}


def main(arguments: list[str]) -> int:
    root, names = Path(arguments[0]), arguments[1:] or list(RULES)
    violations = [violation for name in names for violation in RULES[name](root)]
    print("\n".join(violations))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
