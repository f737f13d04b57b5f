// Bundles of the published families that are not what they say: each is refused with its reason.
#include <glint/io/sha256.hpp>
#include <glint/model/model.hpp>
#include <glint/text/prompt_encoder.hpp>
#include <glint/vae/image_decoder.hpp>
#include <glint/version.hpp>

#include "family/family.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/families.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <set>

using namespace glint;
using nlohmann::json;
using test::Contains;

namespace GLINT_TEST_FILE {

using Change = std::function<void(json&)>;

/// What loading the family's bundle says after a change of its manifest.
std::string load_failure(const std::string& family, const Change& change) {
  const test::FamilyBundle files(family, "model.json", change);
  return test::failure([&] { files.load(); });
}

/// What the denoiser of a changed file says, whose hash the manifest has and which torch 2.10 is said to have
/// made.
std::string damaged_failure(const std::string& manifest, const std::function<void(std::string&)>& damage) {
  const std::string file = manifest == "pt2.json" ? "denoiser.pt2" : "denoiser.pt";
  std::string bytes = test::read_bytes(test::data("families/sdxl") / file);
  damage(bytes);
  const test::FamilyBundle files("sdxl", manifest, [&](json& j) {
    j["torch"] = "2.10.0";
    j["components"]["denoiser"]["sha256"] = sha256(bytes);
  });
  test::write_bytes(files.folder / file, bytes);
  return test::failure([&] { files.load().model(); });
}

/// Replaces every `from` by as many bytes of `to`.
void replace_all(std::string& bytes, const std::string& from, const std::string& to) {
  REQUIRE(from.size() == to.size());
  int count = 0;
  for (size_t at = 0; (at = bytes.find(from, at)) != std::string::npos; ++count)
    bytes.replace(at, from.size(), to);
  REQUIRE(count > 0);
}

TEST_CASE("Families are found by name, and lay out the text encoders they have", "[unit]") {
  std::set<std::string_view> names;
  for (const families::Family& family : families::all()) {
    CAPTURE(family.name);
    CHECK(names.insert(family.name).second);
    CHECK(&families::find(family.name) == &family);
    CHECK(PromptEncoder::components(family.name).size() == family.encoders);
    if (!family.text) continue;
    std::vector<size_t> used = family.text->side_by_side;
    used.insert(used.end(), family.text->pooled.begin(), family.text->pooled.end());
    used.push_back(family.text->behind.value_or(0));
    CHECK(*std::max_element(used.begin(), used.end()) + 1 == family.encoders);
  }
  CHECK(PromptEncoder::components("sd3").back() == "text_encoder_3");
  CHECK(PromptEncoder::components("tensor").empty());
  CHECK(PromptEncoder::components("a host's own") == std::vector<std::string>{"text_encoder"});
}

TEST_CASE("A bundle that lacks one of its family's components is refused by name", "[unit]") {
  CHECK_THAT(
      load_failure("sdxl", [](json& j) { j["components"].erase("text_encoder_2"); }),
      Contains("BadModel: ") && Contains("components.text_encoder_2: missing component; family sdxl has "
                                         "text_encoder, tokenizer, text_encoder_2, tokenizer_2"));
  CHECK_THAT(load_failure("sd3", [](json& j) { j["components"].erase("tokenizer_3"); }),
             Contains("components.tokenizer_3: missing component"));
  CHECK_THAT(load_failure("wan", [](json& j) { j["components"].erase("denoiser"); }),
             Contains("components.denoiser: missing component"));

  const test::FamilyBundle undecoded("sdxl", "model.json",
                                     [](json& j) { j["components"].erase("vae_decoder"); });
  const Pipeline pipeline(undecoded.load());
  GenerateRequest request{.prompts = {"a fox"}, .steps = 1};
  CHECK_THAT(test::failure([&] { pipeline.generate(request); }),
             Contains("NotFound: ") && Contains("no component 'vae_decoder'"));
  request.decode = false;
  CHECK(pipeline.generate(request).sample.latents.defined());
}

TEST_CASE("A bundle of one family that says it is another is refused", "[unit]") {
  const auto named = [](const std::string& family, const std::string& other) {
    return load_failure(family, [&](json& j) { j["family"] = other; });
  };
  CHECK_THAT(named("wan", "sdxl"), Contains("components.text_encoder_2: missing component; family sdxl has"));
  CHECK_THAT(named("sdxl", "sd3"), Contains("components.text_encoder_3: missing component; family sd3 has"));
  CHECK_THAT(named("sd3", "flux"),
             Contains("components.text_encoder_3: family flux has no such component, only"));
  CHECK_THAT(
      named("sdxl", "flux"),
      Contains("components.denoiser.inputs: prompts of family flux give pooled, tokens, but the denoiser "
               "takes pooled, time_ids, tokens"));
  CHECK_THAT(
      named("flux", "sdxl"),
      Contains(
          "prompts of family sdxl give pooled, time_ids, tokens, but the denoiser takes pooled, tokens"));
  CHECK_THAT(named("flux", "wan"), Contains("components.text_encoder_2: family wan has no such component"));
}

TEST_CASE("A bundle without text encoders takes conditionings and no prompts", "[unit]") {
  const test::FamilyBundle files("wan", "model.json", [](json& j) {
    j["components"].erase("text_encoder");
    j["components"].erase("tokenizer");
  });
  const Bundle bundle = files.load();
  bundle.preload();
  CHECK_THAT(test::failure([&] { bundle.prompt_encoder(); }),
             Contains("NotFound: prompt: model 'wan' has no text encoder; give its conditioning instead"));
}

TEST_CASE("A text encoder is fed by the tokenizer of its number and what it takes", "[unit]") {
  const auto bundle = Bundle::load(test::data("families/sd3"));
  CHECK(bundle.text_encoder("text_encoder_3")->tokenizer().length() == 256);
  CHECK(bundle.text_encoder("text_encoder_2") == bundle.text_encoder("text_encoder_2"));
  CHECK_THAT(test::failure([&] { bundle.text_encoder("vae_decoder"); }),
             Contains("InvalidArgument: components.vae_decoder: not a text encoder"));
  const test::FamilyBundle odd("wan", "model.json", [](json& j) {
    j["components"]["text_encoder"]["inputs"] = {"ids", "maks"};
  });
  CHECK_THAT(test::failure([&] { odd.load().prompt_encoder(); }),
             Contains("InvalidArgument: text encoder: inputs: expected ids, mask or skip, got 'maks'"));
  CHECK_THAT(test::failure([&] { PromptEncoder("sdxl", {bundle.text_encoder()}); }),
             Contains("InvalidArgument: encoders: family sdxl has 2 text encoders, got 1"));
  // SD3's T5 in the second CLIP's place: no pooled embedding.
  CHECK_THAT(
      test::failure([&] {
        PromptEncoder("flux", {bundle.text_encoder("text_encoder_3"), bundle.text_encoder()}).encode("", {});
      }),
      Contains("BadModel: components.text_encoder: family flux needs its pooled embedding"));
}

TEST_CASE("Damaged components and those of another torch are told apart from good ones", "[unit]") {
  for (const char* manifest : {"model.json", "pt2.json"}) {
    CAPTURE(manifest);
    CHECK_THAT(damaged_failure(manifest, [](std::string& bytes) { bytes.resize(bytes.size() / 2); }),
               Contains("BadModel: ") && Contains("cannot be loaded as"));
  }
  const std::string other = fmt::format(
      " (made with torch 2.10.0, loaded with torch {}; export it again with this one)", torch_version());
  // The archive's own version, as a later torch would write it.
  CHECK_THAT(damaged_failure("model.json", [](std::string& bytes) { replace_all(bytes, "10\n", "99\n"); }),
             Contains("denoiser.pt") && Contains("version") && Contains(other));
  // An operator that this torch does not have.
  CHECK_THAT(damaged_failure("pt2.json",
                             [](std::string& bytes) {
                               replace_all(bytes, "torch.ops.aten.silu.default",
                                           "torch.ops.aten.sulu.default");
                             }),
             Contains("denoiser.pt2") && Contains("sulu") && Contains(other));
}

}  // namespace GLINT_TEST_FILE
