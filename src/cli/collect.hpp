// The arguments of `glint collect`.
#pragma once

#include "cli/cli.hpp"

#include <glint/collect/noise_pairs.hpp>
#include <glint/collect/trajectories.hpp>

#include <map>
#include <string>

namespace glint::cli {

struct CollectArguments {
  ModelArguments model;
  std::string prompt_file, solver, schedule, stored = "float16";
  int threads = 0;
  bool pairs = false;  ///< noise pairs instead of trajectories
  bool json = false, quiet = false;
  CollectRequest request;
  std::map<std::string, std::string> pair_options;  ///< by name, unparsed
};

/// Runs the command, and returns its exit code.
int collect(CollectArguments& args);

}  // namespace glint::cli
