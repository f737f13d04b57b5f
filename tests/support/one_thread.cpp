// Results must not depend on the machine, and CTest already keeps every core busy.
#include <ATen/Context.h>
#include <ATen/Parallel.h>

namespace {

const bool done = [] {
  at::set_num_threads(1);
  at::manual_seed(0);  // at::randn is seeded by chance otherwise
  return true;
}();

}  // namespace
