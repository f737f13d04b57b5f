// The arguments of `glint inspect`.
#pragma once

#include "cli/cli.hpp"

#include <string>

namespace glint::cli {

struct InspectArguments {
  ModelArguments model;
  std::string attention;
  bool json = false;
};

/// Runs the command, and returns its exit code.
int inspect(InspectArguments& args);

}  // namespace glint::cli
