// The arguments of `glint compare`.
#pragma once

#include "cli/cli.hpp"
#include "cli/outputs.hpp"

#include <string>
#include <vector>

namespace glint::cli {

struct CompareArguments {
  ModelArguments model;
  std::string prompt, solver, schedule;
  std::vector<std::string> with, scorers;
  OutputFiles files;
  int64_t enlarge = 0;  // 0 = so that labels fit
  int threads = 0;
  bool json = false, quiet = false;
  GenerateRequest request;
};

/// Runs the command, and returns its exit code.
int compare(CompareArguments& args);

}  // namespace glint::cli
