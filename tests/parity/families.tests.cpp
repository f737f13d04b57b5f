// SDXL, SD3.5, FLUX and Wan bundles against diffusers' pipelines on the same tiny networks: embeddings, whole
// runs, pictures. tests/data/families is made by tools/golden/families.py.
#include <glint/solver/first_order.hpp>
#include <glint/text/prompt_encoder.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/families.hpp"
#include "tests/support/report.hpp"

#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/stack.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

using namespace glint;
using test::Contains;

namespace GLINT_TEST_FILE {

const char* const kManifests[] = {"model.json", "pt2.json"};

/// Runs every golden run of a family and returns how many there were.
int check_runs(const std::string& family, const std::string& manifest) {
  const test::GoldenRuns golden(family);
  const test::FamilyBundle files(family, manifest);
  const Pipeline pipeline(files.load());
  double worst = 0.0;
  for (const auto& run : golden.cases()) {
    const auto name = run["name"].get<std::string>();
    CAPTURE(family, manifest, name);
    const GenerateResult result = pipeline.generate(golden.request(run));
    const at::Tensor& expected = golden.tensors.at(name + ".latents");
    REQUIRE(result.sample.latents.sizes() == expected.sizes());
    const double difference = test::largest_difference(result.sample.latents, expected);
    // Float32 all through, like the reference, whose sums have another order in a few places.
    CHECK(difference < 1e-4);
    worst = std::max(worst, difference);
  }
  test::report("{:5} {:10} {:2} runs, largest difference of latents {:.1e}", family, manifest,
               golden.cases().size(), worst);
  return static_cast<int>(golden.cases().size());
}

void check_embeddings(const std::string& family) {
  const test::GoldenRuns golden(family);
  const auto encoder = Bundle::load(test::data("families/" + family)).prompt_encoder();
  std::vector<at::Tensor> tokens, pooled;
  for (const auto& prompt : golden.told["embedded"]) {
    const auto conditioning =
        encoder->encode(prompt.get<std::string>(), {.height = 32, .width = 24}).conditioning;
    tokens.push_back(conditioning.tokens);
    if (conditioning.pooled.defined()) pooled.push_back(conditioning.pooled);
  }
  CHECK(pooled.empty() == !golden.tensors.contains("text.pooled"));
  const auto compare = [&](const char* name, const std::vector<at::Tensor>& parts) {
    if (parts.empty()) return;
    const at::Tensor ours = at::cat(parts), exact = golden.tensors.at(fmt::format("text.{}", name)),
                     theirs = golden.tensors.at(fmt::format("text.{}.float32", name));
    const double error = test::largest_difference(ours, exact),
                 their_error = test::largest_difference(theirs, exact);
    test::report("{:5} {:6} {:.1e} from diffusers in float64, {:.1e} in float32, which itself is {:.1e} off",
                 family, name, error, test::largest_difference(ours, theirs), their_error);
    // T5 does not scale its attention scores, so that float32 alone is off by more than 1e-5 of these
    // embeddings.
    CHECK(error < std::max(1e-5, 2.0 * their_error));
  };
  compare("tokens", tokens);
  compare("pooled", pooled);
}

/// Compares bytes: 1/255 is one.
void check_pictures(const std::string& family, const std::string& name) {
  const test::GoldenRuns golden(family);
  const Pipeline pipeline(Bundle::load(test::data("families/" + family)));
  GenerateRequest request = golden.request(golden.named(name));
  request.decode = true;
  const GenerateResult result = pipeline.generate(request);
  const std::vector<Image> expected = to_images(golden.tensors.at(name + ".pictures"));
  REQUIRE(result.images.size() == expected.size());
  int worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    REQUIRE(result.images[i].pixels.size() == expected[i].pixels.size());
    CHECK(result.images[i].width == expected[i].width);
    for (size_t p = 0; p < expected[i].pixels.size(); ++p)
      worst = std::max(worst, std::abs(int{result.images[i].pixels[p]} - int{expected[i].pixels[p]}));
  }
  test::report("{:5} {:12} largest difference of bytes {}", family, name, worst);
  CHECK(worst <= 1);
}

TEST_CASE("Text embeddings of every family are diffusers'", "[parity]") {
  for (const char* family : {"sdxl", "sd3", "flux", "wan"}) {
    CAPTURE(family);
    check_embeddings(family);
  }
}

TEST_CASE("SDXL samples what diffusers samples: Euler, DDIM, DPM++ 2M Karras, UniPC", "[parity]") {
  for (const char* manifest : kManifests) CHECK(check_runs("sdxl", manifest) == 10);
}
TEST_CASE("SD3.5 samples what diffusers samples", "[parity]") {
  for (const char* manifest : kManifests) CHECK(check_runs("sd3", manifest) == 2);
}
TEST_CASE("FLUX samples what diffusers samples, with and without classifier-free guidance", "[parity]") {
  for (const char* manifest : kManifests) CHECK(check_runs("flux", manifest) == 4);
}
TEST_CASE("Wan samples what diffusers samples: UniPC, shifts 3 and 5, 1 and 9 frames", "[parity]") {
  for (const char* manifest : kManifests) CHECK(check_runs("wan", manifest) == 8);
}

TEST_CASE("Pictures of the image families are diffusers' to 1/255", "[parity]") {
  check_pictures("sdxl", "euler-8");
  check_pictures("sdxl", "ddim-8");
  for (const char* family : {"sd3", "flux"})
    for (const char* name : {"flow-euler-8", "flow-euler-20"}) check_pictures(family, name);
}

TEST_CASE("A picture does not depend on the batch it is made in", "[parity]") {
  for (const char* family : {"sdxl", "sd3", "flux"}) {
    for (const char* manifest : kManifests) {
      CAPTURE(family, manifest);
      const test::FamilyBundle files(family, manifest);
      const Pipeline pipeline(files.load());
      GenerateRequest request{.prompts = {"a fox"}, .negative = "blurry", .steps = 2, .count = 5};
      request.height = 48;
      request.width = 16;
      request.decode = false;
      request.batch = 5;
      const at::Tensor together = pipeline.generate(request).sample.latents;
      request.batch = 2;
      // Matrix products of other heights round differently in the last bits.
      CHECK(test::largest_difference(pipeline.generate(request).sample.latents, together) < 1e-4);
    }
  }
}

TEST_CASE("A family's defaults are those of its pipeline", "[parity]") {
  const std::pair<const char*, const char*> solvers[] = {
      {"sdxl", "euler"}, {"sd3", "flow-euler"}, {"flux", "flow-euler"}, {"wan", "unipc"}};
  for (const auto& [family, solver] : solvers) {
    CAPTURE(family);
    const test::GoldenRuns golden(family);
    const Pipeline pipeline(Bundle::load(test::data("families/" + std::string(family))));
    const auto& run = golden.cases()[0];
    GenerateRequest request = golden.request(run);
    request.solver.reset();
    if (pipeline.bundle().manifest().guidance.default_scale == run["guidance"].get<double>())
      request.guidance.reset();
    const GenerateResult result = pipeline.generate(request);
    CHECK(result.solver == solver);
    CHECK(test::largest_difference(result.sample.latents,
                                   golden.tensors.at(run["name"].get<std::string>() + ".latents")) < 1e-4);
  }
}

TEST_CASE("An absent negative prompt and an empty one differ where the family says so", "[parity]") {
  const auto latents = [](const std::string& family, const std::optional<std::string>& negative) {
    const test::GoldenRuns golden(family);
    GenerateRequest request = golden.request(golden.cases()[0]);
    request.negative = negative;
    request.steps = 2;
    return Pipeline(Bundle::load(test::data("families/" + family))).generate(request).sample.latents;
  };
  CHECK_FALSE(at::equal(latents("sdxl", std::nullopt), latents("sdxl", "")));
  CHECK(at::equal(latents("sd3", std::nullopt), latents("sd3", "")));
}

TEST_CASE("A conditioning in place of a prompt needs no more than the family's embeddings", "[parity]") {
  const test::GoldenRuns golden("sdxl");
  const Pipeline pipeline(Bundle::load(test::data("families/sdxl")));
  GenerateRequest request = golden.request(golden.cases()[0]);
  const at::Tensor expected = pipeline.generate(request).sample.latents;
  const auto encoder = pipeline.bundle().prompt_encoder();
  const auto embeddings = [&](const std::string& prompt) {
    Conditioning all = encoder->encode(prompt, {}).conditioning;
    return Conditioning{.tokens = all.tokens, .pooled = all.pooled};
  };
  request.conditioning =
      Prompt{.cond = embeddings(request.prompts.front()), .uncond = embeddings(*request.negative)};
  request.prompts.clear();
  request.negative.reset();
  CHECK(at::equal(pipeline.generate(request).sample.latents, expected));
}

TEST_CASE("The order of image tokens changes no prediction", "[parity]") {
  for (const char* family : {"sd3", "flux", "wan"}) {
    CAPTURE(family);
    const test::GoldenRuns golden(family);
    const Pipeline pipeline(Bundle::load(test::data("families/" + std::string(family))));
    const auto& run = golden.cases()[0];
    GenerateRequest request = golden.request(run);
    // Every block of keys is selected, so only the order differs from dense attention.
    request.with = {parse_choice("pisa:density=1,reorder=true,min_tokens=1,first_dense_layers=0")};
    CHECK(test::largest_difference(pipeline.generate(request).sample.latents,
                                   golden.tensors.at(run["name"].get<std::string>() + ".latents")) < 1e-4);
  }
}

TEST_CASE("SD3 without T5 has zeros in place of its embeddings", "[parity]") {
  const auto encode = [](const Bundle& bundle) {
    return bundle.prompt_encoder()->encode("a red fox", {.height = 32, .width = 32}).conditioning;
  };
  const Conditioning whole = encode(Bundle::load(test::data("families/sd3")));
  const int64_t width = whole.tokens.size(2);
  const test::FamilyBundle files("sd3", "model.json", [&](nlohmann::json& manifest) {
    for (const char* role : {"text_encoder_3", "tokenizer_3"}) manifest["components"].erase(role);
    manifest["absent_text"] = {100, width};
  });
  const Conditioning made = encode(files.load());
  REQUIRE(made.tokens.sizes() == at::IntArrayRef({1, 77 + 100, width}));
  CHECK(at::equal(made.tokens.narrow(1, 0, 77), whole.tokens.narrow(1, 0, 77)));
  CHECK_FALSE(made.tokens.narrow(1, 77, 100).any().item<bool>());
  CHECK(at::equal(made.pooled, whole.pooled));
  const test::GoldenRuns golden("sd3");
  GenerateRequest request = golden.request(golden.cases()[0]);
  request.steps = 2;
  CHECK(Pipeline(files.load()).generate(request).sample.latents.isfinite().all().item<bool>());

  const auto refused = [](const std::string& family, const std::function<void(nlohmann::json&)>& change) {
    const test::FamilyBundle damaged(family, "model.json", change);
    return test::failure([&] { damaged.load(); });
  };
  CHECK_THAT(refused("sd3", [](auto& m) { m["components"].erase("text_encoder_3"); }),
             Contains("components.text_encoder_3: missing component"));
  CHECK_THAT(refused("sdxl",
                     [](auto& m) {
                       m["absent_text"] = {100, 32};
                     }),
             Contains("absent_text: family sdxl can do without none of its text encoders"));
  CHECK_THAT(refused("sd3", [](auto& m) { m["absent_text"] = {100}; }),
             Contains("absent_text: expected [tokens, width]"));
}

TEST_CASE("Words that do not fit and words that are not known are told", "[parity]") {
  const auto told = [](const std::string& family, const std::string& prompt) {
    const auto encoder = Bundle::load(test::data("families/" + family)).prompt_encoder();
    return encoder->encode(prompt, {.height = 32, .width = 32}).tokenized;
  };
  std::string words;
  for (int i = 0; i < 200; ++i) words += "a ";
  CHECK(told("sdxl", words + "b").dropped.size() == 201 - 75);
  CHECK(told("sdxl", words + "b").dropped.back() == "b");
  CHECK(told("flux", words).dropped.empty());  // T5 takes 512 tokens
  CHECK(told("flux", words).ids.size() == 512);
  CHECK_FALSE(told("wan", "a \xF0\x9F\x98\x80").unknown.empty());
}

TEST_CASE("Sizes a family cannot make are refused by name", "[parity]") {
  const auto refused = [](const std::string& family, const std::function<void(GenerateRequest&)>& change) {
    const Pipeline pipeline(Bundle::load(test::data("families/" + family)));
    GenerateRequest request{.prompts = {"a fox"}, .steps = 1, .decode = false};
    change(request);
    return test::failure([&] { pipeline.generate(request); });
  };
  CHECK(refused("sdxl", [](auto& r) { r.height = 30; }) ==
        "InvalidArgument: height: expected a positive multiple of 4, got 30");
  CHECK(refused("sd3", [](auto& r) { r.width = 100; }) ==
        "InvalidArgument: width: expected at most 96, got 100");
  CHECK(refused("flux", [](auto& r) {
          r.noise = at::zeros({1, 16, 8, 7});
        }) == "InvalidArgument: noise: width: expected a positive multiple of 4, got 14");
  CHECK(refused("flux", [](auto& r) {
          r.noise = at::zeros({1, 4, 8, 8});
        }) == "ShapeMismatch: noise: expected [B,16,H,W] with B >= 1, got [1,4,8,8]");
  CHECK(refused("wan", [](auto& r) {
          r.noise = at::zeros({1, 16, 8, 8});
        }) == "ShapeMismatch: noise: expected [B,16,F,H,W] with B >= 1, got [1,16,8,8]");
  CHECK(refused("wan", [](auto& r) { r.frames = 8; }) ==
        "InvalidArgument: frames: expected one more than a multiple of 4, got 8; the nearest are 5 and 9");
}

TEST_CASE("Second prompts, clip skip, T5's length and SDXL's sizes do what they do in diffusers",
          "[parity]") {
  for (const std::string family : {"sdxl", "sd3", "flux", "wan"}) {
    const std::filesystem::path folder = test::data("families/" + family);
    const auto cases = nlohmann::json::parse(test::read_bytes(folder / "options.json"));
    const TensorMap tensors = read_safetensors(folder / "options.safetensors");
    const test::GoldenRuns golden(family);
    const Pipeline pipeline(Bundle::load(folder));
    double worst = 0.0;
    for (const auto& run : cases) {
      const auto name = run["name"].get<std::string>();
      CAPTURE(family, name);
      GenerateRequest request{.prompts = {golden.told["prompt"].get<std::string>()}, .decode = false};
      if (!run["negative"].is_null()) request.negative = run["negative"].get<std::string>();
      request.steps = run["steps"].get<int>();
      request.guidance = run["guidance"].get<double>();
      request.solver = Choice{.name = run["solver"]};
      if (!run["shift"].is_null()) request.schedule.emplace("shift", run["shift"].get<double>());
      request.noise = tensors.at("noise");
      const at::Tensor plain = pipeline.generate(request).sample.latents;
      for (const auto& [option, text] : run["options"].items())
        set_prompt_field(request.text, option, text.get<std::string>());
      const at::Tensor latents = pipeline.generate(request).sample.latents;
      const double difference = test::largest_difference(latents, tensors.at(name));
      CHECK(difference < 1e-4);  // as of the other runs
      CHECK(test::largest_difference(latents, plain) > 1e-3);
      worst = std::max(worst, difference);
    }
    test::report("{:5} {:2} runs with options, largest difference of latents {:.1e}", family, cases.size(),
                 worst);
  }
}

TEST_CASE("Options that a model has no use for are refused by name", "[parity]") {
  const auto refusal = [](
                           const std::string& family, const std::map<std::string, std::string>& options,
                           const std::function<void(GenerateRequest&)>& change = [](GenerateRequest&) {}) {
    const Pipeline pipeline(Bundle::load(test::data("families/" + family)));
    GenerateRequest request{.prompts = {"a fox"}, .negative = "blurry", .steps = 1, .decode = false};
    for (const auto& [name, text] : options) set_prompt_field(request.text, name, text);
    change(request);
    return test::failure([&] { pipeline.resolve(request); });
  };
  CHECK(refusal("wan", {{"prompt_2", "x"}}) ==
        "InvalidArgument: prompt_2: expected none: this wan model has 1 text encoders");
  CHECK_THAT(refusal("sdxl", {{"prompt_3", "x"}}),
             Contains("prompt_3: expected none: this sdxl model has 2"));
  CHECK_THAT(refusal("flux", {{"clip_skip", "1"}}),
             Contains("clip_skip: expected none: the tokens of family flux"));
  CHECK_THAT(refusal("wan", {{"clip_skip", "1"}}), Contains("clip_skip: expected none"));
  CHECK_THAT(refusal("sdxl", {{"text_length", "77"}}),
             Contains("text_length: expected none: family sdxl has no text encoder of free length"));
  for (const char* name : {"original_size", "target_size", "negative_original_size", "negative_target_size"})
    CHECK_THAT(refusal("sd3", {{name, "64x64"}}), Contains(std::string(name) + ": expected none"));
  for (const char* name : {"crop", "negative_crop"})
    CHECK_THAT(refusal("flux", {{name, "0,0"}}), Contains(std::string(name) + ": expected none"));
  CHECK_THAT(refusal("sdxl", {{"clip_skip", "3"}}),
             Contains("clip_skip: expected 0 to 2, for an encoder of 3 layers, got 3"));
  CHECK_THAT(refusal("sdxl", {{"clip_skip", "-1"}}), Contains("clip_skip: expected at least 0, got -1"));
  for (const char* length : {"1", "513", "-5"})
    CHECK_THAT(refusal("sd3", {{"text_length", length}}), Contains("text_length: expected 2 to 512 tokens"));
  CHECK_THAT(refusal("sdxl", {{"original_size", "0x5"}}),
             Contains("original_size: expected sides of 1 to 65536 px"));
  CHECK_THAT(refusal("sdxl", {{"crop", "-1,0"}}), Contains("crop: expected 0 to 65536 px each, got -1,0"));
  CHECK_THAT(refusal("sdxl", {{"negative_original_size", "64x64"}}),
             Contains("negative_original_size: expected negative_target_size beside it"));
  CHECK_THAT(refusal("sdxl", {{"negative_crop", "1,1"}}),
             Contains("negative_crop: expected negative_original_size and negative_target_size beside it"));
  CHECK_THAT(refusal("sdxl", {{"negative_2", "x"}}, [](GenerateRequest& r) { r.negative.reset(); }),
             Contains("negative_2: expected a negative prompt beside it"));
  CHECK_THAT(refusal("sdxl", {{"prompt_2", "x"}}, [](GenerateRequest& r) { r.conditioning = Prompt{}; }),
             Contains("prompt_2: expected none beside a conditioning"));
  CHECK_THAT(refusal("sdxl", {{"prompt_2", "\xff"}}), Contains("prompt_2"));

  const test::FamilyBundle old("sdxl", "model.json", [](nlohmann::json& manifest) {
    for (const char* role : {"text_encoder", "text_encoder_2"}) {
      manifest["components"][role]["inputs"] = {"ids"};
      manifest["components"][role].erase("layers");
    }
  });
  GenerateRequest request{.prompts = {"a fox"}, .steps = 1};
  request.text.clip_skip = 1;
  CHECK_THAT(test::failure([&] { Pipeline(old.load()).resolve(request); }),
             Contains("clip_skip: the text encoder's file always returns the same layer; export it again"));
}

TEST_CASE("Prompt options as text are what they were", "[unit]") {
  PromptOptions options;
  CHECK(prompt_field_texts(options).empty());
  const std::map<std::string, std::string> texts{{"prompt_2", "a, b"},     {"prompt_3", "c"},
                                                 {"negative_2", "d"},      {"negative_3", "e"},
                                                 {"clip_skip", "2"},       {"text_length", "128"},
                                                 {"original_size", "4x3"}, {"crop", "2,1"},
                                                 {"target_size", "8x5"},   {"negative_original_size", "6x7"},
                                                 {"negative_crop", "0,9"}, {"negative_target_size", "1x2"}};
  for (const auto& [name, text] : texts) set_prompt_field(options, name, text);
  CHECK(prompt_field_texts(options) == texts);
  CHECK(prompt_fields().size() == texts.size());
  CHECK(options.origin.original->width == 4);
  CHECK(options.origin.original->height == 3);
  CHECK(options.origin.crop->left == 2);
  CHECK(options.negative_origin.target->height == 2);
  for (const auto& [name, text] : {std::pair{"clip_skip", "1.5"},
                                   {"clip_skip", ""},
                                   {"crop", "1"},
                                   {"crop", "1x2"},
                                   {"original_size", "4"},
                                   {"original_size", "4x3x2"},
                                   {"text_length", "99999999999999999999"}}) {
    CAPTURE(name, text);
    CHECK_THAT(test::failure([&] { set_prompt_field(options, name, text); }),
               Contains("InvalidArgument: " + std::string(name) + ": expected"));
  }
  CHECK_THAT(test::failure([&] { set_prompt_field(options, "clip_skp", "1"); }),
             Contains("there is no 'clip_skp'; did you mean 'clip_skip'?"));
}

}  // namespace GLINT_TEST_FILE
