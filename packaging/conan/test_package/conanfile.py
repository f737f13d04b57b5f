"""What conan create does with a package it has made: builds and runs the consumers that all packages are tested
with, a C++ program over glint::core and a C99 one over glint::c_core.
"""

from pathlib import Path

from conan import ConanFile
from conan.tools.build import can_run
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout

ROOT = Path(__file__).resolve().parents[3]


class GlintConsumers(ConanFile):
    settings = "os", "compiler", "build_type", "arch"
    generators = ("CMakeDeps",)

    def requirements(self):
        self.requires(self.tested_reference_str)

    def layout(self):
        cmake_layout(self)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables["EXAMPLES"] = str(ROOT / "examples")
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure(build_script_folder=str(ROOT / "tests/packaging/core_consumer"))
        cmake.build()

    def test(self):
        if can_run(self):
            for program in ("in_cpp", "in_c"):
                self.run(str(Path(self.cpp.build.bindir, program)), env="conanrun")
