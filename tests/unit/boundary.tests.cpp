// Everything that leaves the library is a glint::Error, and the host's torch state neither breaks it nor
// leaks.
#include <glint/catalog/registry.hpp>
#include <glint/collect/trajectories.hpp>
#include <glint/io/safetensors.hpp>
#include <glint/lora/adapter.hpp>
#include <glint/pipeline/pipeline.hpp>
#include <glint/solver/first_order.hpp>
#include <glint/text/text_encoder.hpp>
#include <glint/vae/image_decoder.hpp>

#include "tests/support/files.hpp"
#include "tests/support/runs.hpp"
#include "tests/support/samplers.hpp"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <c10/core/DefaultDtype.h>
#include <c10/core/InferenceMode.h>
#include <nlohmann/json.hpp>

#include <exception>
#include <filesystem>
#include <functional>
#include <new>
#include <stdexcept>
#include <system_error>
#include <typeinfo>

namespace glint {
namespace GLINT_TEST_FILE {

using test::Contains;

/// Throws one exception of each kind that C++ and torch have.
const std::vector<std::function<void()>>& throwers() {
  static const std::vector<std::function<void()>> all{
      [] { throw std::runtime_error("thrown"); },
      [] { throw std::logic_error("thrown"); },
      [] { throw std::invalid_argument("thrown"); },
      [] { throw std::out_of_range("thrown"); },
      [] { throw std::length_error("thrown"); },
      [] { throw std::domain_error("thrown"); },
      [] { throw std::overflow_error("thrown"); },
      [] { throw std::bad_alloc(); },
      [] { throw std::bad_array_new_length(); },
      [] { throw std::bad_cast(); },
      [] { throw std::bad_function_call(); },
      [] { throw std::system_error(std::make_error_code(std::errc::io_error), "thrown"); },
      [] { throw std::filesystem::filesystem_error("thrown", std::make_error_code(std::errc::io_error)); },
      [] { throw std::ios_base::failure("thrown"); },
      [] { TORCH_CHECK(false, "thrown"); },
      [] { throw 7; },
  };
  return all;
}

/// Checks that each exception thrown inside `call` leaves it as an Error that begins with `what`.
void check_boundary(const std::string& what, const std::function<void(const std::function<void()>&)>& call) {
  for (size_t i = 0; i < throwers().size(); ++i) {
    CAPTURE(what, i);
    try {
      call(throwers()[i]);
      FAIL("nothing was thrown");
    } catch (const Error& error) {
      CAPTURE(error.what());
      CHECK_THAT(error.what(), Catch::StartsWith(what));
      CHECK_THAT(error.what(), !Contains("Exception raised from"));
      CHECK(error.code() != ErrorCode::InvalidArgument);
      if (i == 7 || i == 8) CHECK(error.code() == ErrorCode::OutOfMemory);
    }
  }
}

struct Throwing final : Network {
  const std::function<void()>& thrower;
  explicit Throwing(const std::function<void()>& one) : thrower(one) {}
  std::vector<at::Tensor> run(std::vector<at::Tensor>) const override {
    thrower();
    return {};
  }
};

struct Watching final : Observer {
  std::function<void()> thrower;
  bool keep_going() override { return thrower(), true; }
};

struct Tiny {
  Tiny() {
    nlohmann::json m = test::tiny_manifest();
    m["latent"]["height"] = m["latent"]["width"] = 8;
    m["torch"] = "2.0.0";
    test::write_bundle(folder / "tiny", m);
  }
  Pipeline pipeline() const { return Pipeline(Bundle::load(folder / "tiny")); }
  test::TemporaryFolder folder;
};

TEST_CASE("Every exception of a host's code leaves every entry point as an Error that names the place",
          "[unit]") {
  const Tiny tiny;
  const Pipeline pipeline = tiny.pipeline();
  check_boundary(tiny.folder / "tiny", [&](const auto& thrower) {
    Bundle::load(tiny.folder / "tiny", {.warn = [&](const std::string&) { thrower(); }});
  });
  check_boundary("sample: ", [](const auto& thrower) {
    const auto model =
        test::model_of(Parameterization::Velocity, NoiseKind::Flow, [&](const at::Tensor& x, const Level&) {
          thrower();
          return x;
        });
    const auto solver = std::make_shared<FlowEuler>();
    test::sampler_of(model, test::schedule_of(NoiseKind::Flow, 2, *solver), solver)
        .sample({.prompt = test::prompt_of(), .latent_shape = {4, 8, 8}});
  });
  const auto generate = [&](const auto& change) {
    GenerateRequest request{.prompts = {"red star"}, .steps = 1};
    change(request);
    pipeline.generate(request);
  };
  check_boundary("sample: ", [&](const auto& thrower) {
    Watching observer;
    observer.thrower = thrower;
    generate([&](GenerateRequest& r) { r.observer = &observer; });
  });
  check_boundary("generate: ", [&](const auto& thrower) {
    generate([&](GenerateRequest& r) { r.on_decoded = [&](const GenerateResult&) { thrower(); }; });
  });
  check_boundary("collect trajectories: ", [&](const auto& thrower) {
    const test::TemporaryFolder folder;
    collect_trajectories(pipeline, {.folder = folder / "c",
                                    .generate = {.prompts = {"red star"}, .steps = 1},
                                    .progress = [&](const CollectProgress&) { thrower(); }});
  });
  check_boundary("text encoder: ", [&](const auto& thrower) {
    TextEncoder(pipeline.bundle().tokenizer(), std::make_shared<Throwing>(thrower)).encode("red");
  });
  check_boundary("", [&](const auto& thrower) {
    ImageDecoder(std::make_shared<Throwing>(thrower), {.channels = 4}).decode(at::randn({1, 4, 8, 8}));
  });
  check_boundary("proceed: ", [&](const auto& thrower) {
    pipeline.bundle().decoder()->decode(at::randn({1, 4, 8, 8}),
                                        {.proceed = [&](int64_t, int64_t) { return thrower(), true; }});
  });
}

TEST_CASE("An adapter's scale and alpha are in a range that float32 holds", "[unit]") {
  const test::TemporaryFolder folder;
  const Tiny tiny;
  const auto lora = [&](double alpha) {
    write_safetensors(folder / "l.safetensors", {{"query.lora_A.weight", at::full({2, 8}, 0.1)},
                                                 {"query.lora_B.weight", at::full({8, 2}, 0.1)},
                                                 {"query.alpha", at::full({}, alpha, at::kDouble)}});
    return folder / "l.safetensors";
  };
  CHECK_THAT(test::failure([&] { read_adapter(lora(1e308)); }),
             Contains("BadModel: ") && Contains("'query': alpha: expected"));
  const Pipeline pipeline(Bundle::load(tiny.folder / "tiny", {.adapters = {{"l", lora(1e9)}}}));
  for (const double scale : {1e308, -1e10})
    CHECK_THAT(test::failure([&] {
                 pipeline.generate({.prompts = {"red"}, .steps = 1, .adapters = {{"l", scale}}});
               }),
               Contains("InvalidArgument: adapters.l: expected a scale from "));
  CHECK_THAT(test::failure([&] {
               pipeline.generate({.prompts = {"red"}, .steps = 1, .adapters = {{"l", 1e9}}});
             }),
             Contains("Numerical: ") || Contains("no error"));
}

TEST_CASE("The host's torch state changes no picture, and is as before afterwards", "[unit]") {
  const Tiny tiny;
  const std::vector<Method> with{{"stability-optimization", {{"iterations", 1.0}, {"steps", 1.0}}},
                                 {"z-sampling", {}}};
  const auto make = [&] {
    const GenerateResult result =
        tiny.pipeline().generate({.prompts = {"red star"}, .steps = 3, .with = with, .seed = 5});
    CHECK_FALSE(result.sample.latents.is_inference());
    return result;
  };
  const GenerateResult usual = make();
  const auto same = [&](const char* state) {
    CAPTURE(state);
    const GenerateResult other = make();
    CHECK(at::equal(other.sample.latents, usual.sample.latents));
    CHECK((other.images == usual.images));
  };
  {
    const c10::InferenceMode inference;
    same("inference mode");
    CHECK(c10::InferenceMode::is_enabled());
    CHECK_FALSE(c10::GradMode::is_enabled());
    CHECK(at::ones({1}).is_inference());
  }
  {
    at::autocast::set_autocast_enabled(at::kCPU, true);
    same("autocast");
    CHECK(at::autocast::is_autocast_enabled(at::kCPU));
    at::autocast::set_autocast_enabled(at::kCPU, false);
  }
  for (const bool gradients : {true, false}) {
    const c10::AutoGradMode mode(gradients);
    same("grad mode");
    CHECK(c10::GradMode::is_enabled() == gradients);
  }
  const caffe2::TypeMeta dtype = c10::get_default_dtype();
  c10::set_default_dtype(caffe2::TypeMeta::fromScalarType(at::kDouble));
  same("default dtype");
  CHECK(c10::get_default_dtype_as_scalartype() == at::kDouble);
  c10::set_default_dtype(dtype);
  at::globalContext().setDeterministicAlgorithms(true, false);
  same("deterministic");
  CHECK(at::globalContext().deterministicAlgorithms());
  at::globalContext().setDeterministicAlgorithms(false, false);
}

TEST_CASE("A network loaded in inference mode works outside it, and inputs made in it are taken", "[unit]") {
  const Tiny tiny;
  std::optional<Pipeline> pipeline;
  std::optional<Prompt> prompt;
  at::Tensor noise;
  {
    const c10::InferenceMode inference;
    pipeline.emplace(tiny.pipeline());
    pipeline->preload({.prompts = {"red star"}, .steps = 2});
    prompt =
        Prompt{.cond = Conditioning{.tokens = at::full({1, 8, 16}, 0.5), .pooled = at::full({1, 8}, 0.5)},
               .uncond = Conditioning{.tokens = at::full({1, 8, 16}, 0.1), .pooled = at::full({1, 8}, 0.1)}};
    noise = at::randn({1, 4, 8, 8});
  }
  CHECK(test::failure([&] {
          pipeline->generate({.conditioning = prompt,
                              .steps = 2,
                              .with = {{"stability-optimization", {{"iterations", 1.0}, {"steps", 1.0}}}},
                              .noise = noise});
        }) == "no error");
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
