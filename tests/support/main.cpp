// The main function of the one test program.
#include <ATen/Context.h>
#include <ATen/Parallel.h>

#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

int main(int argc, char* argv[]) {
  // Results must not depend on the machine, and CTest already keeps every core busy.
  at::set_num_threads(1);
  at::manual_seed(0);  // at::randn is seeded by chance otherwise
  return Catch::Session().run(argc, argv);
}
