// Runs tasks on torch's thread pool.
#pragma once

#include "ops/workspace.hpp"

#include <ATen/Parallel.h>

#include <atomic>

#ifndef _OPENMP
#error "compile this file with OpenMP: without it at::parallel_for is a loop on one thread"
#endif

namespace glint::ops {

/// Calls function(task, workspace) once per task, in any order on any thread; threads take the next task as
/// they finish. `floats` is the workspace size per thread.
template <typename Function>
void for_each_task(int64_t tasks, int64_t floats, Function&& function) {
  std::atomic<int64_t> next{0};
  const int64_t workers = std::min<int64_t>(tasks, at::get_num_threads());
  at::parallel_for(0, workers, 1, [&](int64_t, int64_t) {
    const Buffer<float> workspace(floats);
    for (int64_t task = next++; task < tasks; task = next++) function(task, workspace.data());
  });
}

}  // namespace glint::ops
