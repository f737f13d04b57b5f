// A session of a tiny bundle, for tests of the C interface.
#pragma once

#include "tests/capi/host.hpp"
#include "tests/support/catch.hpp"

#include <string>
#include <utility>
#include <vector>

namespace glint::test {

struct BundleHost {
  glint_engine* engine = nullptr;
  glint_session* session = nullptr;

  explicit BundleHost(const std::string& family, uint64_t memory_limit = 0) {
    const std::string folder = std::string(GLINT_FAMILIES "/") + family;
    glint_engine_config config = GLINT_INIT(glint_engine_config);
    config.bundle = folder.c_str();
    config.memory_limit = memory_limit;
    REQUIRE(glint_engine_create(&config, &engine) == GLINT_OK);
    REQUIRE(glint_session_create(engine, &session) == GLINT_OK);
    for (const auto& [key, value] : {std::pair{"prompt", "fox"},
                                     {"negative", "blurry"},
                                     {"steps", "2"},
                                     {"width", "32"},
                                     {"height", "24"}})
      REQUIRE(set(key, value) == GLINT_OK);
  }
  ~BundleHost() {
    glint_session_release(session);
    glint_engine_release(engine);
  }
  BundleHost(const BundleHost&) = delete;
  BundleHost& operator=(const BundleHost&) = delete;

  glint_status set(const char* key, const char* value) const {
    return glint_session_set(session, key, value);
  }

  /// The status of a run, whose latents replace `latents` if it ends well.
  glint_status run(std::vector<float>& latents) const {
    glint_job* job = nullptr;
    const glint_status status = glint_job_run(session, nullptr, &job);
    if (status == GLINT_OK) latents = Host::latents_of(job);
    glint_job_release(job);
    return status;
  }

  /// The latents of a run; none if it fails.
  std::vector<float> run() const {
    std::vector<float> latents;
    run(latents);
    return latents;
  }
};

}  // namespace glint::test
