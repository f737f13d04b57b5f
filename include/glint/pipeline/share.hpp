// Which part of a job is this process's, where several share one.
#pragma once

#include <cstdint>

namespace glint {

/// This process, and the number of processes that share a job and its folder. Each needs the same request,
/// does its part, and reads from the folder what the others did; the first one completes the folder.
struct Share {
  int64_t rank = 0, ranks = 1;
  double patience = 60.0;  ///< s to wait for a part whose process does not run before it is given up
};

}  // namespace glint
