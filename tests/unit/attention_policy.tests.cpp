#include <glint/attention/gain.hpp>
#include <glint/attention/policy_options.hpp>
#include <glint/attention/token_order.hpp>
#include <glint/bundle/network_model.hpp>
#include <glint/catalog/registry.hpp>
#include <glint/ops/attention_scope.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"
#include "tests/support/runs.hpp"

#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>

#include <numeric>
#include <thread>

using namespace glint;
using test::Contains;

namespace GLINT_TEST_FILE {

AttentionPolicy pisa(double density = 0.15) {
  return {
      .kind = AttentionKind::Pisa, .first_dense_layers = 0, .min_tokens = 64, .pisa = {.density = density}};
}

/// A tiny network of Wan's shape: two blocks of self-attention over two videos' tokens, then cross attention.
const std::shared_ptr<const Network>& wan() {
  static const auto module = load_network(test::data("modules/wan_editing.pt"), Backend::TorchScript);
  return module;
}

constexpr int64_t kFrames = 2, kHeight = 16, kWidth = 24;  // 192 tokens, twice

std::vector<at::Tensor> wan_inputs(std::vector<int64_t> order = {}) {
  if (order.empty()) {
    order.resize(kFrames * kHeight * kWidth / 4);
    std::iota(order.begin(), order.end(), int64_t{0});
  }
  const auto normal = [](uint64_t seed, std::vector<int64_t> shape) {
    return NoiseStream(seed, 1).normal(shape);
  };
  return {normal(1, {16, kFrames, kHeight, kWidth}), at::full({1}, 500.0f), normal(2, {16, 48}),
          at::tensor(order), normal(3, {16, kFrames, kHeight, kWidth})};
}

at::Tensor run(const AttentionPolicy& policy, std::vector<AttentionCall>* log = nullptr) {
  const AttentionScope scope(policy, log);
  return wan()->run(wan_inputs()).front();
}

double difference(const at::Tensor& a, const at::Tensor& b) {
  return a.sub(b).norm().item<double>() / b.norm().item<double>();
}

/// Answers with its inputs' latents and remembers what it was asked under.
struct Witness final : Network {
  mutable std::vector<std::string> kinds;
  mutable std::vector<at::Tensor> seen;
  int64_t layers = 1;
  std::vector<at::Tensor> run(std::vector<at::Tensor> inputs) const override {
    const AttentionScope* scope = AttentionScope::current();
    kinds.emplace_back(enum_name(scope ? scope->policy().kind : AttentionKind::Dense));
    seen = inputs;
    return {inputs.front()};
  }
  int64_t attention_layers() const override { return layers; }
};

Predictor predictor_of(const std::shared_ptr<const Network>& module,
                       NetworkInputs inputs = {.names = {"latents", "time"}}) {
  ModelInfo info{.name = "witness",
                 .parameterization = Parameterization::Velocity,
                 .noise_kind = NoiseKind::Flow,
                 .latent_shape = {4, -1, -1}};
  return {.model = std::make_shared<NetworkModel>(module, info, std::move(inputs)),
          .rule = builtins().rule({.name = "cfg", .options = {{"scale", 1.0}}})};
}

Sampler sampler_of(Predictor predictor, int steps) {
  return Sampler({.predictor = std::move(predictor),
                  .schedule = test::schedule_of(NoiseKind::Flow, steps),
                  .solver = builtins().solver({.name = "flow-euler"})});
}

TEST_CASE("A policy changes between calls of one loaded network, and dense gives the exported bits",
          "[unit]") {
  const auto original =
      load_network(test::data("modules/wan_editing.pt"), Backend::TorchScript, {.attention = false});
  const auto exported = original->run(wan_inputs()).front();
  const auto sparse = run(pisa());
  CHECK(at::equal(run({}), exported));
  CHECK(at::equal(wan()->run(wan_inputs()).front(), exported));
  CHECK(at::equal(run(pisa()), sparse));
  CHECK(difference(sparse, exported) > 1e-4);
  CHECK(difference(sparse, exported) < 0.1);
  // Every block exact: dense attention, summed in another order.
  CHECK(difference(run(pisa(1.0)), exported) < 1e-5);
  const auto isa = run({.kind = AttentionKind::Isa, .first_dense_layers = 0, .min_tokens = 64});
  CHECK(difference(isa, exported) > 1e-4);
  CHECK(difference(isa, sparse) > 1e-4);
}

TEST_CASE("The first layers, short sequences and cross attention stay dense", "[unit]") {
  const auto kinds = [](const AttentionPolicy& policy) {
    std::vector<AttentionCall> log;
    run(policy, &log);
    REQUIRE(log.size() == 4);
    std::vector<std::string> result;
    for (const auto& call : log) result.emplace_back(enum_name(call.kind));
    CHECK((log[0].queries == 384 && log[0].keys == 384 && log[1].queries == 384 && log[1].keys == 16));
    return result;
  };
  const std::string D = "dense", P = "pisa";
  using Kinds = std::vector<std::string>;
  CHECK(kinds(pisa()) == Kinds{P, D, P, D});
  auto policy = pisa();
  policy.first_dense_layers = 1;
  CHECK(kinds(policy) == Kinds{D, D, P, D});
  policy = pisa();
  policy.min_tokens = 384;
  CHECK(kinds(policy) == Kinds{P, D, P, D});
  policy.min_tokens = 385;
  CHECK(kinds(policy) == Kinds{D, D, D, D});
}

TEST_CASE("Threads run one network under different policies", "[unit]") {
  const std::vector<AttentionPolicy> policies{{}, pisa(0.15), pisa(0.5)};
  std::vector<at::Tensor> expected;
  for (const auto& policy : policies) expected.push_back(run(policy));
  std::array<bool, 3> right{true, true, true};
  std::vector<std::thread> threads;
  for (size_t t = 0; t < right.size(); ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 5; ++i) right[t] = right[t] && at::equal(run(policies[t]), expected[t]);
    });
  for (auto& thread : threads) thread.join();
  CHECK(right == std::array<bool, 3>{true, true, true});
}

TEST_CASE("Scopes nest, and an inner one is told to the outer log", "[unit]") {
  CHECK(AttentionScope::current() == nullptr);
  std::vector<AttentionCall> log;
  {
    const AttentionScope outer(pisa(), &log);
    {
      const AttentionScope inner(AttentionPolicy{});
      CHECK(AttentionScope::current() == &inner);
      wan()->run(wan_inputs());
    }
    CHECK(AttentionScope::current() == &outer);
  }
  CHECK(AttentionScope::current() == nullptr);
  REQUIRE(log.size() == 4);
  CHECK((log[0].kind == AttentionKind::Dense));
}

TEST_CASE("A token order is undone by the network: any order gives the same prediction", "[unit]") {
  const auto raster = wan()->run(wan_inputs()).front();
  const auto patches = wan()->run(wan_inputs(token_order(kFrames, kHeight / 2, kWidth / 2))).front();
  CHECK(difference(patches, raster) < 1e-5);
}

TEST_CASE("A run puts its policy in force in its window of steps only", "[unit]") {
  const auto witness = std::make_shared<Witness>();
  Predictor predictor = predictor_of(witness);
  predictor.attention = pisa();
  predictor.attention.window = {.start = 0.25, .stop = 0.75};
  const Prompt prompt{.cond = {.tokens = at::zeros({1, 1, 1})}};
  sampler_of(predictor, 4).sample({.prompt = prompt, .latent_shape = {4, 4, 4}});
  const std::string D = "dense", P = "pisa";
  CHECK(witness->kinds == std::vector<std::string>{D, P, P, D});
  CHECK(AttentionScope::current() == nullptr);
}

TEST_CASE("A network that takes a token order gets patches while a policy is in force, else raster order",
          "[unit]") {
  const auto witness = std::make_shared<Witness>();
  const Predictor predictor = predictor_of(witness, {.names = {"latents", "token_order"}, .patch = 2});
  const at::Tensor x = at::zeros({1, 4, 32, 32});
  const Conditioning nothing;
  const Conditioning* branch = &nothing;
  const Level level{};
  const Adapters none;
  const auto order = [&](const AttentionPolicy* policy) {
    predictor.model->predict(
        {.x = x, .level = level, .branches = {&branch, 1}, .adapters = none, .attention = policy});
    return witness->seen[1];
  };
  std::vector<int64_t> raster(256);
  std::iota(raster.begin(), raster.end(), int64_t{0});
  AttentionPolicy policy = pisa();
  CHECK(at::equal(order(nullptr), at::tensor(raster)));
  CHECK(at::equal(order(&policy), at::tensor(token_order(1, 16, 16))));
  policy.reorder = false;
  CHECK(at::equal(order(&policy), at::tensor(raster)));
}

TEST_CASE("Networks without attention layers of ours refuse sparse policies, by name", "[unit]") {
  const auto compiled = std::make_shared<Witness>();
  compiled->layers = 0;
  Predictor predictor = predictor_of(compiled);
  predictor.attention = pisa();
  CHECK_THAT(test::failure([&] { sampler_of(predictor, 2); }),
             Contains("InvalidArgument: attention: model 'witness' has no attention layers"));
  predictor.attention = {};
  CHECK_NOTHROW(sampler_of(predictor, 2));
}

TEST_CASE("Policies out of range are refused by their option's name", "[unit]") {
  const auto failure = [](AttentionPolicy policy) {
    Predictor predictor = predictor_of(std::make_shared<Witness>());
    predictor.attention = policy;
    return test::failure([&] { sampler_of(predictor, 2); });
  };
  CHECK_THAT(failure(pisa(1.5)),
             Contains("InvalidArgument: attention.pisa.density: expected a value in [0, 1]"));
  CHECK_THAT(failure({.kind = AttentionKind::Isa, .isa = {.context_keep = -1.0}}),
             Contains("InvalidArgument: attention.isa.context_keep"));
  CHECK_THAT(failure({.kind = AttentionKind::Pisa, .window = {.start = 2.0}}),
             Contains("InvalidArgument: attention.pisa.start"));
}

TEST_CASE("Policies are chosen by name, with PISA's defaults for FLUX", "[unit]") {
  const auto policy = builtins().attention(parse_choice("pisa"));
  CHECK((policy.kind == AttentionKind::Pisa));
  CHECK(policy.first_dense_layers == 4);
  CHECK(policy.pisa.density == 0.15);
  CHECK((policy.pisa.order == TaylorOrder::Hybrid));
  CHECK((policy.pisa.selection == BlockSelection::Covariance));
  const auto other = builtins().attention(
      parse_choice("pisa:density=0.3,order=zeroth,selection=variance,block_size=32,min_tokens=7,start=0.5"));
  CHECK(other.pisa.density == 0.3);
  CHECK((other.pisa.order == TaylorOrder::Zeroth));
  CHECK((other.pisa.selection == BlockSelection::Variance));
  CHECK(other.pisa.block_size == 32);
  CHECK(other.min_tokens == 7);
  CHECK(other.window.start == 0.5);
  CHECK(builtins().attention(parse_choice("isa:sharp_share=0.25")).isa.sharp_share == 0.25);
  CHECK_FALSE(builtins().attention(parse_choice("dense")).sparse());
  const auto failure = [](const char* text) {
    return test::failure([&] { builtins().attention(parse_choice(text)); });
  };
  CHECK_THAT(
      failure("piza"),
      Contains("InvalidArgument: unknown attention policy 'piza', did you mean 'pisa'") || Contains("piza"));
  CHECK_THAT(failure("pisa:order=second"),
             Contains("InvalidArgument: pisa.order: expected one of zeroth, hybrid, first"));
  CHECK_THAT(failure("pisa:density=2"),
             Contains("InvalidArgument: pisa.density: expected a value in [0, 1]"));
  CHECK_THAT(failure("isa:sparsity=0.5"), Contains("InvalidArgument: isa: unknown option 'sparsity'"));
  CHECK_THAT(failure("dense:density=0.5"), Contains("InvalidArgument: dense: unknown option 'density'"));
}

TEST_CASE("The bound on the gain is that of the multiply-adds", "[unit]") {
  const auto bound = [](AttentionPolicy policy, int64_t tokens, int64_t head) {
    return gain_bound(policy, {.queries = tokens, .keys = tokens, .head_size = head, .kind = policy.kind});
  };
  // Cost table of PISA: FLUX at 1024 px keeps 10 of 72 blocks; 1/64 for means, d/N for moments and
  // first-order term.
  CHECK(bound(pisa(), 4608, 128) == Approx(1.0 / (10.0 / 72 + 1.0 / 64 + 128.0 / 4608 + 0.5 / 4096)));
  CHECK(bound(pisa(), 4096, 128) == Approx(5.3).margin(0.05));
  CHECK(bound(pisa(0.125), 32768, 128) == Approx(6.9).margin(0.05));
  CHECK(bound(pisa(0.05), 32768, 128) == Approx(14.6).margin(0.05));
  CHECK(bound({.kind = AttentionKind::Isa}, 65536, 128) == Approx(3.3).margin(0.05));
  CHECK(bound({}, 65536, 128) == 1.0);
}

}  // namespace GLINT_TEST_FILE
