// What docs/adding.md shows, done from outside: a guidance rule, a solver and a preset of a strategy, each by
// its name, in one run of a model that is a C++ function. Includes every public header, and throws across the
// library's boundary.
#include <glint/glint.hpp>

#include <cstdio>

namespace {

struct HalfOptions {
  double scale = 4.0;
  static void fields(auto& visit, auto& o) { visit("scale", o.scale, glint::kScaleField); }
};

class Half final : public glint::DifferenceRule {
 public:
  using Options = HalfOptions;
  static constexpr glint::EntryInfo info{.kind = "rule",
                                         .name = "half",
                                         .summary = "half of the guidance scale",
                                         .cost = "2 N rows",
                                         .source = "docs/adding.md"};
  explicit Half(HalfOptions options = {}) : scale_(options.scale) { glint::check_ranges(info.name, options); }

  at::Tensor combine(const glint::BranchOutputs& o, const glint::GuidanceStep&,
                     glint::GuidanceState*) const override {
    return at::lerp(o.uncond, o.cond, scale_ / 2.0);
  }

 private:
  double scale_;
};

class Jump final : public glint::OnEulerGrid {
 public:
  using Options = glint::NoOptions;
  static constexpr glint::EntryInfo info{.kind = "solver",
                                         .name = "jump",
                                         .summary = "straight to the estimate of x0 in every step",
                                         .cost = "N predictions",
                                         .source = "docs/adding.md"};
  explicit Jump(glint::NoOptions = {}) {}

  at::Tensor step(const glint::SolverStep& s, glint::SolverHistory&, glint::NoiseStream&) const override {
    return s.denoised();
  }
};

struct TwiceOptions {
  static constexpr glint::EntryInfo info{.kind = "step",
                                         .name = "twice",
                                         .summary = "Z-Sampling with two reflections per step",
                                         .cost = "N G + 2 S (G + 1) rows",
                                         .source = "docs/adding.md"};
  static void fields(auto&, auto&) {}
};

glint::StepMethod twice(const TwiceOptions&) {
  return glint::z_sampling({.reflect = glint::ReflectOptions{.repeats = 2}});
}

glint::SampleResult run(const glint::Registry& registry) {
  const auto model = std::make_shared<glint::CallableModel>(
      glint::ModelInfo{.name = "linear",
                       .parameterization = glint::Parameterization::Velocity,
                       .noise_kind = glint::NoiseKind::Flow},
      [](const glint::ModelInput& in) {
        std::vector<at::Tensor> outputs;
        for (const glint::Conditioning* branch : in.branches)
          outputs.push_back(in.x.mul(0.3).add(branch->tokens.sum()));
        return outputs;
      });
  const auto solver = registry.solver({"jump"});
  const glint::Sampler sampler(
      {.predictor = glint::Predictor{.model = model, .rule = registry.rule({"half", {{"scale", 3}}})},
       .schedule = solver->schedule(glint::FlowTraining{}, {.steps = 4}),
       .solver = solver,
       .step_methods = {registry.step({"twice"})}});
  const glint::Prompt prompt{.cond = glint::Conditioning{.tokens = at::full({1, 1, 1}, 0.5)},
                             .uncond = glint::Conditioning{.tokens = at::full({1, 1, 1}, -0.5)}};
  return sampler.sample({.prompt = prompt, .seed = 1, .latent_shape = {4, 8, 8}});
}

}  // namespace

int main() {
  std::printf("glint %s, libtorch %s\n", glint::version(), glint::torch_version());
  glint::Registry registry = glint::builtins();
  registry.add<Half>();
  registry.add<Jump>();
  registry.add<TwiceOptions>(twice);
  const glint::SampleResult result = run(registry);
  std::printf("%d steps, %.0f evaluations\n", result.steps, result.nfe());
  if (result.nfe() != 4 * 2 + 2 * 3 * (2 + 1)) return 1;
  try {
    registry.rule({"half", {{"scael", 2}}});
  } catch (const glint::Error& error) {
    std::printf("%s: %s\n", glint::enum_name(error.code()).data(), error.what());
    return 0;
  }
  return 1;
}
