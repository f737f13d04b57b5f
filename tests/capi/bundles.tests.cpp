// Bundles through the C interface: the options that only they have.
#include "tests/capi/host.hpp"
#include "tests/support/catch.hpp"

namespace glint {
namespace {

using Catch::Matchers::Contains;
using test::last_error;

/// A session of the tiny bundle of a family.
struct BundleHost {
  glint_engine* engine = nullptr;
  glint_session* session = nullptr;

  explicit BundleHost(const std::string& family) {
    const std::string folder = std::string(GLINT_FAMILIES "/") + family;
    glint_engine_config config = GLINT_INIT(glint_engine_config);
    config.bundle = folder.c_str();
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

  std::vector<float> run() const {
    glint_job* job = nullptr;
    std::vector<float> latents;
    if (glint_job_run(session, nullptr, &job) == GLINT_OK) latents = test::Host::latents_of(job);
    glint_job_release(job);
    return latents;
  }
};

TEST_CASE("What a bundle's text encoders read, and where attention meets it, are options", "[capi]") {
  const std::vector<float> plain = BundleHost("sdxl").run();
  REQUIRE(plain.size() == 4 * 16 * 12);
  for (const auto& [key, value] : {std::pair{"prompt_2", "a red apple"},
                                   {"negative_2", "green"},
                                   {"clip_skip", "1"},
                                   {"original_size", "64x48"},
                                   {"with", "nag"}}) {
    CAPTURE(key);
    const BundleHost host("sdxl");
    REQUIRE(host.set(key, value) == GLINT_OK);
    const std::vector<float> changed = host.run();
    CHECK(changed.size() == plain.size());
    CHECK(changed != plain);
  }
}

TEST_CASE("Options that a bundle has no use for, or that cannot be, are refused by name", "[capi]") {
  const BundleHost sdxl("sdxl"), wan("wan");
  CHECK(sdxl.set("clip_skip", "one") == GLINT_INVALID_ARGUMENT);
  CHECK_THAT(last_error(), Contains("clip_skip: expected a whole number, got 'one'"));
  CHECK(sdxl.set("prompt_4", "x") != GLINT_OK);
  CHECK_THAT(last_error(), Contains("prompt_4"));
  REQUIRE(wan.set("prompt_2", "a red apple") == GLINT_OK);
  CHECK(wan.run().empty());
  CHECK_THAT(last_error(), Contains("prompt_2"));
}

}  // namespace
}  // namespace glint
