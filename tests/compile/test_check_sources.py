"""Each rule finds the fault it is made for, and leaves correct files alone."""

import tempfile
import unittest
from pathlib import Path

from check_sources import LAYERS, RULES


class RulesFindFaults(unittest.TestCase):
    def violations(self, rule: str, files: dict[str, str]) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            return list(RULES[rule](Path(folder)))

    def test_a_banned_header_is_found_anywhere(self) -> None:
        found = self.violations(
            "banned-includes", {"tests/unit/a.tests.cpp": "int x;\n# include <torch/torch.h>\n"}
        )
        self.assertEqual(len(found), 1)
        self.assertIn("tests/unit/a.tests.cpp:2", found[0])

    def test_a_heavy_header_is_found_outside_its_folders(self) -> None:
        text = "#include <torch/csrc/jit/api/module.h>\n"
        self.assertEqual(self.violations("banned-includes", {"src/network/a.cpp": text}), [])
        self.assertEqual(len(self.violations("banned-includes", {"src/sampling/sampler.cpp": text})), 1)

    def test_heavy_headers_are_kept_to_a_few_files(self) -> None:
        files = {f"src/network/{i}.cpp": "#include <torch/script.h>\n" for i in range(7)}
        self.assertIn("at most 6", self.violations("banned-includes", files)[0])

    def test_an_include_of_a_later_layer_is_found(self) -> None:
        files = {
            "include/glint/core/a.hpp": "#include <glint/step/b.hpp>\n",
            "include/glint/step/b.hpp": "#include <glint/core/c.hpp>\n",
            "include/glint/core/c.hpp": "#include <vector>\n",
            "src/core/a.cpp": '#include "io/d.hpp"\n#include <glint/core/a.hpp>\n',
            "src/io/d.hpp": "",
        }
        found = self.violations("include-direction", files)
        self.assertEqual(
            [line.split(" ")[0] for line in found], ["include/glint/core/a.hpp:1:", "src/core/a.cpp:1:"]
        )

    def test_an_include_of_a_neighbour_is_found(self) -> None:
        files = {"include/glint/step/a.hpp": "", "include/glint/noise/b.hpp": "#include <glint/step/a.hpp>\n"}
        self.assertIn("stands beside", self.violations("include-direction", files)[0])

    def test_the_order_is_the_whole_order(self) -> None:
        folders = [folder for layer in LAYERS for folder in layer]
        for earlier, folder in enumerate(folders):
            for later in folders[earlier + 1 :]:
                files = {f"include/glint/{folder}/a.hpp": f"#include <glint/{later}/b.hpp>\n"}
                files[f"include/glint/{later}/b.hpp"] = ""
                self.assertEqual(len(self.violations("include-direction", files)), 1, (folder, later))

    def test_a_file_without_a_layer_is_found(self) -> None:
        self.assertIn("in no layer", self.violations("include-direction", {"src/misc/a.cpp": ""})[0])

    def test_a_loose_file_is_found(self) -> None:
        self.assertIn("lies loose", self.violations("include-direction", {"include/glint/a.hpp": ""})[0])
        self.assertEqual(self.violations("include-direction", {"include/glint/fwd.hpp": ""}), [])

    def test_an_unlisted_source_is_found(self) -> None:
        files = {"src/CMakeLists.txt": "core/a.cpp\n", "src/core/a.cpp": "", "src/core/b.cpp": ""}
        self.assertEqual(
            self.violations("file-lists", files), ["src/core/b.cpp: not listed in src/CMakeLists.txt"]
        )

    def test_a_long_file_is_found(self) -> None:
        self.assertEqual(len(self.violations("file-length", {"src/a.cpp": "\n" * 501})), 1)

    def test_a_long_function_is_found(self) -> None:
        def function(lines: int) -> str:
            return "int f(int x) {\n" + "  ++x;\n" * (lines - 2) + "}\n"

        self.assertEqual(self.violations("function-length", {"src/core/a.cpp": function(80)}), [])
        found = self.violations(
            "function-length", {"src/core/a.cpp": "namespace a {\n" + function(81) + "}\n"}
        )
        self.assertEqual(len(found), 1)
        self.assertIn("src/core/a.cpp:2: a function of 81 lines", found[0])
        self.assertEqual(self.violations("function-length", {"src/ops/a.cpp": function(150)}), [])

    def test_a_header_outside_of_the_umbrella_is_found(self) -> None:
        files = {"include/glint/glint.hpp": "#include <glint/core/a.hpp>\n", "include/glint/core/a.hpp": ""}
        self.assertEqual(self.violations("umbrella", files), [])
        files["include/glint/core/b.hpp"] = ""
        self.assertEqual(self.violations("umbrella", files), ["include/glint/core/b.hpp: not in glint.hpp"])

    def test_an_aggregate_without_its_type_is_found(self) -> None:
        named = "A a{.b = B{.c = f()}, .d = g()};\n.list = {1, 2}, .empty = {}\n"
        self.assertEqual(self.violations("named-aggregates", {"src/a.cpp": named}), [])
        bare = "A a{\n  .b = {\n    .c = f()}, .d = g()};\n"
        self.assertIn(
            "src/a.cpp:2: name the type of b", self.violations("named-aggregates", {"src/a.cpp": bare})[0]
        )

    def test_a_wide_line_is_found(self) -> None:
        self.assertEqual(self.violations("line-width", {"src/a.cpp": "x" * 110 + "\n"}), [])
        self.assertEqual(len(self.violations("line-width", {"src/a.cpp": "x" * 111 + "\n"})), 1)
        self.assertEqual(len(self.violations("line-width", {"tools/a.py": "x" * 111 + "\n"})), 1)


if __name__ == "__main__":
    unittest.main()
