// The glint program, run as a user runs it, in a folder of its own.
#pragma once

#include "tests/support/files.hpp"

#include <fmt/format.h>
#include <sys/wait.h>

#include <cstdlib>
#include <string>

namespace glint::test {

struct Outcome {
  int exit_code;
  std::string out, err;
};

/// A folder with the tiny bundle `tiny`, in which the program runs.
class Program {
 public:
  Program() { write_bundle(folder / "tiny", manifest()); }

  static nlohmann::json manifest() {
    nlohmann::json m = tiny_manifest();
    m["latent"]["height"] = m["latent"]["width"] = 8;
    m["default_steps"] = 3;
    return m;
  }

  /// Runs `glint arguments`; the arguments are a shell's.
  Outcome operator()(const std::string& arguments) const {
    const std::string command =
        fmt::format("cd {} && (GLINT_MODELS=. OMP_NUM_THREADS=1 '{}' {}) >out.txt 2>err.txt",
                    folder.path().string(), program().string(), arguments);
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_bytes(folder / "out.txt"),
            read_bytes(folder / "err.txt")};
  }

  bool exists(const std::string& file) const { return std::filesystem::exists(folder / file); }

  TemporaryFolder folder;
};

}  // namespace glint::test
