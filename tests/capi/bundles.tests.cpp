// Bundles through the C interface: the options that only they have.
#include "tests/capi/bundle_host.hpp"

namespace glint {
namespace {

using Catch::Matchers::Contains;
using test::BundleHost;
using test::last_error;

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
