// The arguments of `glint eval`.
#pragma once

#include "cli/cli.hpp"

#include <glint/eval/evaluation.hpp>

#include <string>
#include <vector>

namespace glint::cli {

struct EvalArguments {
  ModelArguments model;
  std::string prompt_file, method_file, solver, schedule;
  std::vector<std::string> with;
  int threads = 0;
  bool json = false, quiet = false;
  EvalRequest request;
};

/// Runs the command, and returns its exit code.
int eval(EvalArguments& args);

}  // namespace glint::cli
