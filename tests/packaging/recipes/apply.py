"""Applies the recipes of docs/adding.md to a copy of the files they touch.

    apply.py SOURCE_DIR OUT_DIR

Every C++ block is taken from the page word for word. OUT_DIR/include and OUT_DIR/src then hold the new and
changed files, and come before the library's own in the include path.
"""

import re
import sys
from pathlib import Path


def blocks(page: str) -> list[str]:
    return re.findall(r"^```cpp\n(.*?)^```$", page, re.S | re.M)


class Recipes:
    def __init__(self, source: Path, out: Path) -> None:
        self.source, self.out = source, out
        self.blocks = blocks((source / "docs/adding.md").read_text())

    def block(self, mark: str) -> str:
        """The one block of the page that contains `mark`."""
        found = [text for text in self.blocks if mark in text]
        if len(found) != 1:
            sys.exit(f"docs/adding.md: expected one C++ block with {mark!r}, found {len(found)}")
        return found[0]

    def write(self, path: str, text: str) -> None:
        file = self.out / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_text() != text:
            file.write_text(text)

    def change(self, path: str, *changes: tuple[str, str]) -> None:
        """Writes a copy of a file with each first string, which it has once, replaced by the second."""
        text = (self.source / path).read_text()
        for old, new in changes:
            if text.count(old) != 1:
                sys.exit(f"{path}: expected {old!r} once, found it {text.count(old)} times")
            text = text.replace(old, new)
        self.write(path, text)


def quoted_between(text: str, start: str, end: str) -> str:
    """From `start` to `end`, both included, as it stands in the text."""
    first = text.index(start)
    return text[first : text.index(end, first) + len(end)]


def main() -> None:
    recipes = Recipes(Path(sys.argv[1]), Path(sys.argv[2]))

    # A rule, a solver, a preset: a header each, a line each.
    recipes.write("include/glint/guidance/cfg_ramp.hpp", recipes.block("class CfgRamp final"))
    recipes.write("include/glint/solver/renoise.hpp", recipes.block("class Renoise final"))
    preset = recipes.block("inline StepMethod lora_reflection")
    includes = (
        "#pragma once\n#include <glint/sampling/predictor_changes.hpp>\n#include <glint/step/reflect.hpp>\n"
    )
    recipes.write(
        "include/glint/step/lora_reflection.hpp",
        f"{includes}namespace glint {{\n{preset}}}  // namespace glint\n",
    )
    lines = [recipes.block(mark) for mark in ("r.add<CfgRamp>", "r.add<Renoise>", "r.add<LoraReflection")]
    recipes.change(
        "src/catalog/builtins.cpp",
        (
            "#include <glint/guidance/cfg_schedule.hpp>\n",
            "#include <glint/guidance/cfg_ramp.hpp>\n#include <glint/guidance/cfg_schedule.hpp>\n"
            "#include <glint/solver/renoise.hpp>\n#include <glint/step/lora_reflection.hpp>\n",
        ),
        ("    return r;\n", "".join(lines) + "    return r;\n"),
    )

    # A family.
    recipes.write("src/family/nova.cpp", recipes.block("Family nova() {"))
    recipes.change(
        "src/family/families.cpp",
        (" tensor();", " tensor(), nova();"),
        (" tensor()};", " tensor(), nova()};"),
    )

    # An image format.
    recipes.write("src/image/ppm.cpp", recipes.block("void write_ppm"))
    signature = quoted_between(recipes.block("void write_ppm"), "void write_ppm", ")")
    recipes.write(
        "include/glint/image/ppm.hpp",
        "#pragma once\n#include <glint/image/png.hpp>\nnamespace glint {\n"
        f"GLINT_API {signature};\n}}  // namespace glint\n",
    )
    image_file = (recipes.source / "src/image/image_file.cpp").read_text()
    recipes.change(
        "src/image/image_file.cpp",
        (
            quoted_between(image_file, "constexpr std::array kFormats{", "};\n"),
            recipes.block("constexpr std::array kFormats{"),
        ),
        (
            "#include <glint/image/webp.hpp>\n",
            "#include <glint/image/ppm.hpp>\n#include <glint/image/webp.hpp>\n",
        ),
    )

    # A backend.
    backend = recipes.block("enum class Backend {")
    recipes.write("src/network/onnx_network.cpp", recipes.block("class OnnxNetwork final"))
    loader = quoted_between(
        recipes.block("class OnnxNetwork final"), "std::shared_ptr<const Network> load_onnx", ")"
    )
    recipes.change(
        "src/network/loaders.hpp",
        ("/// Returns the dtype called", f"{loader};\n\n/// Returns the dtype called"),
    )
    enumerators = (recipes.source / "include/glint/network/backend.hpp").read_text()
    recipes.change(
        "include/glint/network/backend.hpp",
        (
            quoted_between(enumerators, "enum class Backend {", "};\n"),
            quoted_between(backend, "enum class Backend {", "};\n"),
        ),
        (
            quoted_between(enumerators, "static constexpr std::array", "};\n"),
            quoted_between(backend, "static constexpr std::array", "};\n"),
        ),
    )
    for file, kind in (("network.cpp", "Engine"), ("backend.cpp", "Facts")):
        rows = f"    {kind}{{Backend::Safetensors,"
        row = quoted_between(backend, f"{kind}{{Backend::Onnx", "},\n")
        recipes.change(f"src/network/{file}", (rows, row + rows))

    # The tests of the page, for recipes.cpp.
    tests = (recipes.block('TEST_CASE("A ramp is CFG'), recipes.block('TEST_CASE("Renoising returns'))
    recipes.write("recipe_tests.inc", "\n".join(tests))


if __name__ == "__main__":
    main()
