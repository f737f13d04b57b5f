#include <glint/io/safetensors.hpp>
#include <glint/network/attention_rewrite.hpp>
#include <glint/network/network.hpp>
#include <glint/ops/attention_scope.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <nlohmann/json.hpp>

#include <thread>

using namespace glint;
using test::Contains;

namespace GLINT_TEST_FILE {

torch::jit::Module scripted(const std::string& name, const std::string& forward) {
  torch::jit::Module module(name);
  module.define(forward);
  return module;
}

/// Two layers in submodules of which one is called twice, one in a branch and one with every argument given.
torch::jit::Module nested_module() {
  auto layer = scripted("layer", R"(
    def forward(self, x):
        return x + torch.scaled_dot_product_attention(x, x * 0.5, x + 1.0)
  )");
  auto block = scripted("block", "");
  block.register_module("attention", layer);
  block.define(R"(
    def forward(self, x):
        return self.attention.forward(self.attention.forward(x) * 0.5)
  )");
  auto root = scripted("root", "");
  root.register_module("block", block);
  root.define(R"(
    def forward(self, x):
        x = self.block.forward(x)
        if x.size(0) == 1:
            x = torch.scaled_dot_product_attention(x, x, x, scale=0.3)
        return x + torch.scaled_dot_product_attention(x, x, x, None, 0.0, True)
  )");
  root.eval();
  return root;
}

at::Tensor run(torch::jit::Module& module, const at::Tensor& x) { return module.forward({x}).toTensor(); }

std::vector<AttentionCall> calls_of(torch::jit::Module& module, const at::Tensor& x,
                                    const AttentionPolicy& policy = {}) {
  std::vector<AttentionCall> log;
  const AttentionScope scope(policy, &log);
  run(module, x);
  return log;
}

int count_nodes(const torch::jit::Module& module, const char* kind) {
  auto graph = module.get_method("forward").graph()->copy();
  torch::jit::Inline(*graph);
  const std::string text = graph->toString();
  int count = 0;
  for (size_t at = text.find(kind); at != std::string::npos; at = text.find(kind, at + 1)) ++count;
  return count;
}

at::Tensor tokens(int64_t batch = 1, int64_t count = 64) { return at::randn({batch, 2, count, 8}); }

TEST_CASE("Every attention of a TorchScript module is rewritten, inlined or not, frozen or not", "[unit]") {
  const bool frozen = GENERATE(false, true);
  const bool inlined = GENERATE(false, true);
  CAPTURE(frozen, inlined);
  auto original = nested_module();
  auto module = original.clone();
  if (frozen) module = torch::jit::freeze(module);
  if (inlined) torch::jit::Inline(*module.get_method("forward").graph());
  CHECK(rewrite_attention(module) == 4);
  CHECK(count_nodes(module, "aten::scaled_dot_product_attention") == 0);
  CHECK(count_nodes(module, "glint::attention") == 4);

  // Bit-identical without a policy and with a dense one; layers are numbered as they run, the shared one
  // twice.
  for (const auto& x : {tokens(), tokens(2, 33)}) {
    const auto expected = run(original, x);
    CHECK(at::equal(run(module, x), expected));
    const auto calls = calls_of(module, x);
    const bool branch = x.size(0) == 1;
    std::vector<int64_t> layers;
    for (const auto& call : calls) layers.push_back(call.layer);
    CHECK(layers == (branch ? std::vector<int64_t>{0, 1, 2, 3} : std::vector<int64_t>{0, 1, 3}));
    CHECK(calls.front().queries == x.size(2));
    CHECK(calls.front().heads == 2);
    CHECK(calls.front().head_size == 8);
    const AttentionScope dense{AttentionPolicy{}};
    CHECK(at::equal(run(module, x), expected));
  }
}

TEST_CASE("Rewriting twice changes nothing more", "[unit]") {
  auto module = nested_module();
  CHECK(rewrite_attention(module) == 4);
  CHECK(rewrite_attention(module) == 0);
  CHECK(calls_of(module, tokens()).size() == 4);
}

TEST_CASE("A module without attention stays as it is", "[unit]") {
  auto module = scripted("plain", "\ndef forward(self, x):\n    return x * 2.0\n");
  CHECK(rewrite_attention(module) == 0);
  CHECK(run(module, tokens()).defined());
}

TEST_CASE("Loaded modules report their attention layers and compute the same bits as without the rewrite",
          "[unit]") {
  const auto expected = read_safetensors(test::data("modules/expected.safetensors"));
  for (const auto& [file, backend] : {std::pair{"denoiser.pt", Backend::TorchScript},
                                      std::pair{"denoiser.pt2", Backend::ExportedProgram}}) {
    CAPTURE(file);
    const auto rewritten = load_network(test::data("modules") / file, backend);
    const auto original = load_network(test::data("modules") / file, backend, {.attention = false});
    CHECK(rewritten->attention_layers() == 1);
    CHECK(original->attention_layers() == 0);
    for (const std::string label : {"a", "b"}) {
      std::vector<at::Tensor> inputs;
      for (const char* name : {".latents", ".time", ".tokens", ".pooled"})
        inputs.push_back(expected.at(label + name));
      const auto output = original->run(inputs)[0];
      CHECK(at::equal(rewritten->run(inputs)[0], output));
      std::vector<AttentionCall> log;
      {
        const AttentionScope dense(AttentionPolicy{}, &log);
        CHECK(at::equal(rewritten->run(inputs)[0], output));
      }
      REQUIRE(log.size() == 1);
      CHECK(log[0].layer == 0);
      CHECK(log[0].queries == inputs[0].size(2) * inputs[0].size(3));
      // And sparse where a policy says so, without loading again.
      const AttentionScope sparse({.kind = AttentionKind::Pisa,
                                   .first_dense_layers = 0,
                                   .min_tokens = 1,
                                   .pisa = {.density = 0.2, .block_size = 4}});
      CHECK_FALSE(at::equal(rewritten->run(inputs)[0], output));
      CHECK(sparse.sparse_calls() == 1);
    }
  }
}

TEST_CASE("An exported program's attentions get a layer number where they stand, in nested graphs too",
          "[unit]") {
  const auto node = [](const std::string& target, nlohmann::json inputs) {
    return nlohmann::json{
        {"target", target}, {"inputs", std::move(inputs)}, {"outputs", nlohmann::json::array()}};
  };
  const auto attention = [&](const std::string& name) {
    return node("torch.ops.aten.scaled_dot_product_attention.default",
                {{{"name", "query"}, {"arg", {{"as_tensor", {{"name", name}}}}}, {"kind", 1}}});
  };
  const nlohmann::json inner = {{"nodes", {attention("b")}}};
  const nlohmann::json program = {
      {"graph_module",
       {{"graph",
         {{"nodes",
           {attention("a"),
            node(
                "torch.ops.higher_order.cond",
                {{{"name", ""}, {"arg", {{"as_graph", {{"name", "true"}, {"graph", inner}}}}}, {"kind", 1}}}),
            node("torch.ops.aten.add.Tensor", nlohmann::json::array()), attention("c")}}}}}}};
  const auto result = rewrite_attention(program.dump(), "model.json");
  CHECK(result.layers == 3);
  const auto nodes = nlohmann::json::parse(result.json)["graph_module"]["graph"]["nodes"];
  const auto check = [](const nlohmann::json& changed, const char* query, int layer) {
    CHECK(changed["target"] == "torch.ops.glint.attention.default");
    CHECK(changed["inputs"].size() == 2);
    CHECK(changed["inputs"][0]["arg"]["as_tensor"]["name"] == query);
    CHECK(changed["inputs"][1] ==
          nlohmann::json{{"name", "layer"}, {"arg", {{"as_int", layer}}}, {"kind", 2}});
  };
  check(nodes[0], "a", 0);
  check(nodes[1]["inputs"][0]["arg"]["as_graph"]["graph"]["nodes"][0], "b", 1);
  CHECK(nodes[2] == program["graph_module"]["graph"]["nodes"][2]);
  check(nodes[3], "c", 2);

  CHECK_THAT(test::failure([] { rewrite_attention("{}", "model.json"); }),
             Contains("BadModel: model.json: expected the graph of an exported program"));
  CHECK_THAT(test::failure([] { rewrite_attention("no JSON", "model.json"); }),
             Contains("BadModel: model.json"));
}

}  // namespace GLINT_TEST_FILE
