// Memory through the C interface: what is in it, a limit, letting go, and running out of it at any point.
#include "tests/capi/bundle_host.hpp"

#include <cstddef>
#include <cstdlib>
#include <map>

namespace glint {
namespace {

using Catch::Matchers::Contains;
using test::last_error;

/// A session of the tiny bundle of SDXL, and what the engine has in memory.
struct MemoryHost : test::BundleHost {
  explicit MemoryHost(uint64_t memory_limit = 0) : BundleHost("sdxl", memory_limit) {}

  /// Bytes by component.
  std::map<std::string, uint64_t> memory() const {
    std::map<std::string, uint64_t> memory;
    char name[64];
    for (int32_t i = 0; glint_engine_component(engine, i, name, sizeof name, nullptr) == GLINT_OK; ++i)
      REQUIRE(glint_engine_memory(engine, name, &memory[name]) == GLINT_OK);
    return memory;
  }
  uint64_t total() const {
    uint64_t bytes = 0;
    REQUIRE(glint_engine_memory(engine, nullptr, &bytes) == GLINT_OK);
    return bytes;
  }
};

TEST_CASE("An engine tells its memory by component, and lets go of it", "[capi]") {
  const MemoryHost host;
  CHECK(host.memory().empty());
  CHECK(host.total() == 0);
  std::vector<float> first, second, third;
  REQUIRE(host.run(first) == GLINT_OK);
  uint64_t sum = 0;
  for (const auto& [name, bytes] : host.memory()) sum += bytes;
  CHECK(host.memory().size() == 4);  // two text encoders, the denoiser, the decoder
  CHECK(host.total() == sum);
  uint64_t bytes = 0;
  CHECK(glint_engine_memory(host.engine, "denoizer", &bytes) == GLINT_NOT_FOUND);
  CHECK_THAT(last_error(), Contains("'denoizer' has nothing in memory"));
  CHECK(glint_engine_memory(host.engine, nullptr, nullptr) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_engine_memory(nullptr, nullptr, &bytes) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_engine_component(host.engine, -1, nullptr, 0, nullptr) == GLINT_NOT_FOUND);
  CHECK(glint_engine_free_params(nullptr) == GLINT_INVALID_ARGUMENT);

  CHECK(glint_engine_free_params(host.engine) == GLINT_OK);
  CHECK(host.total() == 0);
  REQUIRE(host.run(second) == GLINT_OK);
  CHECK(second == first);
  REQUIRE(glint_session_set(host.session, "free_params_immediately", "true") == GLINT_OK);
  REQUIRE(host.run(third) == GLINT_OK);
  CHECK(third == first);
  CHECK(host.total() == 0);
  CHECK(glint_session_set(host.session, "free_params_immediately", "1") == GLINT_INVALID_ARGUMENT);
  CHECK_THAT(last_error(), Contains("free_params_immediately: expected true or false, got '1'"));
}

TEST_CASE("A limit that a run cannot keep refuses it before anything is loaded", "[capi]") {
  const MemoryHost free;
  std::vector<float> expected, latents;
  REQUIRE(free.run(expected) == GLINT_OK);
  const uint64_t all = free.total();

  const MemoryHost tight(1000);
  glint_job* job = nullptr;
  CHECK(glint_job_start(tight.session, nullptr, &job) == GLINT_OUT_OF_MEMORY);
  CHECK(job == nullptr);
  CHECK_THAT(last_error(), Contains("memory_limit: expected at least"));
  CHECK(tight.total() == 0);

  const MemoryHost fits(all * 3 / 4);  // not all at once, but each stage's
  REQUIRE(fits.run(latents) == GLINT_OK);
  CHECK(latents == expected);
  CHECK(fits.total() <= all * 3 / 4);
}

TEST_CASE("A configuration of the first version of the header has no limit", "[capi]") {
  glint_engine_config config = GLINT_INIT(glint_engine_config);
  config.struct_size = offsetof(glint_engine_config, memory_limit);
  config.memory_limit = 1;  // not part of it
  config.bundle = GLINT_FAMILIES "/sdxl";
  glint_engine* engine = nullptr;
  glint_session* session = nullptr;
  glint_job* job = nullptr;
  REQUIRE(glint_engine_create(&config, &engine) == GLINT_OK);
  REQUIRE(glint_session_create(engine, &session) == GLINT_OK);
  REQUIRE(glint_session_set(session, "steps", "1") == GLINT_OK);
  CHECK(glint_job_run(session, nullptr, &job) == GLINT_OK);
  glint_job_release(job);
  glint_session_release(session);
  glint_engine_release(engine);
}

// Run with tests/faults/shim.c in LD_PRELOAD, whose FAULT makes one allocation fail. From 16 KiB on, because
// oneDNN reads what it did not get where one of its own small objects finds no memory.
TEST_CASE("Whichever allocation fails, the job says so and the session stays usable", "[capi][faults]") {
  const char* preloaded = std::getenv("LD_PRELOAD");
  if (!preloaded || !std::string(preloaded).ends_with("libglint_faults.so")) return;
  const MemoryHost host;
  for (const auto& [key, value] : {std::pair{"width", "128"}, {"height", "96"}})
    REQUIRE(glint_session_set(host.session, key, value) == GLINT_OK);
  std::vector<float> expected, latents;
  REQUIRE(host.run(expected) == GLINT_OK);
  int failed = 0;
  for (const auto& [call, loaded] :
       {std::pair{"posix_memalign", true}, {"posix_memalign", false}, {"malloc", false}}) {
    for (int n = 1; n < 20000; n = loaded ? n + 1 + n / 2 : 3 * n) {  // loading takes longest
      CAPTURE(call, loaded, n);
      if (!loaded) REQUIRE(glint_engine_free_params(host.engine) == GLINT_OK);
      const std::string fault = std::string(call) + ":" + std::to_string(n) + ":12:16384";
      REQUIRE(setenv("FAULT", fault.c_str(), 1) == 0);
      const glint_status status = host.run(latents);
      REQUIRE(unsetenv("FAULT") == 0);
      if (status == GLINT_OK) break;  // there are fewer allocations
      ++failed;
      CHECK(status == GLINT_OUT_OF_MEMORY);
      CHECK(last_error() != "");
      latents.clear();
      REQUIRE(host.run(latents) == GLINT_OK);
      CHECK(latents == expected);
    }
  }
  CHECK(failed > 12);
}

}  // namespace
}  // namespace glint
