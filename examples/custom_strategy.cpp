// A step strategy of one's own, by name like the shipped ones: it adds a little fresh noise to the latents of
// the first half of the steps, which some models need to get rid of what they guessed too early.
#include <glint/glint.hpp>

#include <fmt/core.h>

#include <ATen/ops/zeros.h>

namespace {

struct JitterOptions {
  double amount = 0.05;
  static void fields(auto& visit, auto& o) {
    visit("amount", o.amount,
          glint::Field{.help = "noise added, as a share of sigma", .minimum = 0, .maximum = 1});
  }
};

class Jitter final : public glint::StepStrategy {
 public:
  using Options = JitterOptions;
  static constexpr glint::EntryInfo info{.kind = "step",
                                         .name = "jitter",
                                         .summary = "adds fresh noise in the first half of the steps",
                                         .cost = "no rows",
                                         .source = "example"};
  explicit Jitter(JitterOptions options) : options_(options) { glint::check_ranges(info.name, options_); }

  std::string_view name() const override { return info.name; }
  bool active(int i, int n) const override { return options_.amount > 0.0 && 2 * i < n; }
  at::Tensor refine(const at::Tensor& x, const glint::StepContext& c) const override {
    const double sigma = c.run.schedule().level(c.step).sigma * options_.amount;
    // A fork, so that the noise of a stochastic solver stays what it is without this strategy.
    glint::NoiseStream noise = c.run.noise().fork(fmt::format("jitter {}", c.step));
    return x.add(noise.normal_like(x), sigma);
  }

 private:
  JitterOptions options_;
};

}  // namespace

int main() {
  glint::Registry registry = glint::builtins();
  registry.add<Jitter>();
  const auto model = std::make_shared<glint::CallableModel>(
      glint::ModelInfo{.name = "zero", .parameterization = glint::Parameterization::X0},
      [](const glint::ModelInput& in) {
        return std::vector<at::Tensor>(in.branches.size(), at::zeros_like(in.x));
      });
  const glint::Sampler sampler(
      {.predictor = glint::Predictor{.model = model, .rule = std::make_shared<glint::Cfg>(1.0)},
       .schedule = glint::Ddim().schedule(glint::VpTraining{}, {.steps = 10}),
       .solver = registry.solver({"ddim"}),
       .step_methods = {registry.step(glint::parse_choice("jitter:amount=0.1"))}});
  const glint::SampleResult result = sampler.sample({.seed = 1, .latent_shape = {4, 8, 8}});
  fmt::print("{} calls, largest latent {:.3f}\n", result.usage.calls,
             result.latents.abs().max().item<double>());
}
