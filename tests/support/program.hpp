// The glint program, run as a user runs it, in a folder of its own.
#pragma once

#include "tests/support/files.hpp"

#include <string>

namespace glint::test {

struct Outcome {
  int exit_code;
  std::string out, err;
};

/// A folder with the tiny bundle `tiny`, in which the program runs.
class Program {
 public:
  Program();

  static nlohmann::json manifest();

  /// Runs `glint arguments`; the arguments are a shell's.
  Outcome operator()(const std::string& arguments) const;

  /// Runs a shell script in the folder, in which $GLINT is the program, $SHIM the library of tests/faults and
  /// standard output and error are caught.
  Outcome shell(const std::string& script) const;

  /// Runs `glint arguments` as two processes that share a job, the second in the background and with `before`
  /// in front of its command. Returns how the first one ended, with the output of both.
  Outcome shared(const std::string& arguments, const std::string& before = "") const;

  bool exists(const std::string& file) const { return std::filesystem::exists(folder / file); }

  TemporaryFolder folder;
};

}  // namespace glint::test
