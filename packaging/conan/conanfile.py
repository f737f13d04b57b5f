"""glint's light core for Conan 2: the C++ library and the C interface, without libtorch.

    conan create packaging/conan [-o "&:system_eigen=True"]

Eigen, which only the build needs, is Conan Center's, or the system's with system_eigen. With
`-o "&:torch_root=FOLDER"` the whole library is built over the libtorch there; what it needs beside is then the
system's (docs/building.md).
"""

import re
from pathlib import Path

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy

ROOT = Path(__file__).resolve().parents[2]


class Glint(ConanFile):
    name = "glint"
    description = "Better sampling for diffusion and flow models"
    license = "Apache-2.0"
    topics = ("diffusion", "flow-matching", "sampling")
    package_type = "library"
    settings = "os", "compiler", "build_type", "arch"
    options = {
        "shared": [True, False],
        "fPIC": [True, False],
        "system_eigen": [True, False],
        "torch_root": ["ANY"],
    }
    default_options = {"shared": False, "fPIC": True, "system_eigen": False, "torch_root": ""}

    def set_version(self):
        project = (ROOT / "CMakeLists.txt").read_text()
        self.version = re.search(r"project\(glint VERSION ([0-9.]+)", project)[1]

    def export_sources(self):
        for pattern in ("CMakeLists.txt", "LICENSE", "cmake/*", "include/*", "src/*", "models/*"):
            copy(self, pattern, ROOT, self.export_sources_folder)

    @property
    def _whole(self):
        return bool(str(self.options.torch_root))

    def validate(self):
        check_min_cppstd(self, 20)

    def layout(self):
        cmake_layout(self)

    def build_requirements(self):
        if not self.options.system_eigen and not self._whole:
            self.requires("eigen/[>=3.4 <4]", visible=False)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables["GLINT_DEV"] = False
        toolchain.cache_variables["GLINT_CORE_ONLY"] = not self._whole
        if self._whole:
            toolchain.cache_variables["GLINT_TORCH_ROOT"] = str(self.options.torch_root)
        toolchain.generate()
        CMakeDeps(self).generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        copy(self, "LICENSE", self.source_folder, Path(self.package_folder, "licenses"))
        CMake(self).install()

    def package_info(self):
        # glint's own package files say all there is to say; what Conan would write hides them.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs = ["lib/cmake/glint"]
