// OpenMP threads that sleep while they wait, unless the user chose otherwise. By default they spin, so if
// another process holds a core, each barrier of a small network costs a time slice: 2 s became 40 s on a busy
// 2-core machine.
//
// libgomp reads its environment in a constructor, so the program starts itself once more with the variable
// set. It does so before the constructor of any library runs: libtorch's register thousands of operators, 0.2
// s each time.
#ifdef __linux__

#include <unistd.h>

#include <cstddef>

namespace {

constexpr char kName[] = "OMP_WAIT_POLICY=";

// libc is not initialized yet: no getenv, no allocation.
bool names_policy(const char* entry) {
  for (size_t i = 0; i + 1 < sizeof kName; ++i)
    if (entry[i] != kName[i]) return false;
  return true;
}

void let_threads_sleep(int, char** argv, char** environment) {
  static char policy[] = "OMP_WAIT_POLICY=passive";
  constexpr size_t kMost = 8192;  // beyond this many variables threads spin
  static char* extended[kMost + 2];
  size_t count = 0;
  for (; environment[count]; ++count) {
    if (count == kMost || names_policy(environment[count])) return;
    extended[count] = environment[count];
  }
  extended[count] = policy;
  ::execve("/proc/self/exe", argv, extended);  // returns only on failure; then run as is
}

[[gnu::section(".preinit_array"), gnu::used]] void (*const before_constructors)(int, char**,
                                                                                char**) = let_threads_sleep;

}  // namespace

#endif
