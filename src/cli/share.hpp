// Which part of a command's work this process does, as torchrun says it.
#pragma once

#include "cli/cli.hpp"

#include <glint/pipeline/share.hpp>

namespace glint::cli {

/// Sets the rank and the number of processes from RANK and WORLD_SIZE in the environment, and with
/// --device cuda the GPU from LOCAL_RANK. What is not set there stays.
/// Errors:  InvalidArgument naming the variable.
void read_share(Share& share, ModelArguments& model);

/// The pictures [begin, end) of a share: whole batches, so that the same pictures are sampled together
/// however many processes there are.
struct Pictures {
  int64_t begin = 0, end = 0;
};
Pictures share_of(const Share& share, int64_t pictures, int64_t batch);

}  // namespace glint::cli
