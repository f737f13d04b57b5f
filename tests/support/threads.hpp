// Settings of the process that a test may change, put back when the test is left, however that happens.
#pragma once

#include <ATen/Parallel.h>

namespace glint::test {

/// The number of threads that libtorch uses.
class Threads {
 public:
  explicit Threads(int count) : before_(at::get_num_threads()) { at::set_num_threads(count); }
  ~Threads() { at::set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

}  // namespace glint::test
