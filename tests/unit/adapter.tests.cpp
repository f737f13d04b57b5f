#include <glint/io/safetensors.hpp>
#include <glint/lora/adapter.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>

#include <fmt/format.h>

#include <atomic>
#include <cstring>
#include <thread>

using namespace glint;
using test::Contains;

namespace GLINT_TEST_FILE {

/// A tensor whose values tell where they are.
at::Tensor numbered(at::IntArrayRef sizes, double first = 1.0) {
  return at::arange(c10::multiply_integers(sizes), at::kFloat).mul(0.01).add(first).view(sizes);
}

/// A LoRA file with these tensors.
struct File {
  test::TemporaryFolder folder;
  std::filesystem::path path = folder / "lora.safetensors";
  explicit File(const TensorMap& tensors, const Metadata& metadata = {}) {
    write_safetensors(path, tensors, metadata);
  }
  AdapterFile read() const { return read_adapter(path); }
};

std::string refusal(const TensorMap& tensors, const Metadata& metadata = {}) {
  const File file(tensors, metadata);
  const std::string message = test::failure([&] { file.read(); });
  CHECK_THAT(message, Contains(file.path.string()));
  return message;
}

/// A network of one number: the sum of its weights. Says how often weights were exchanged.
struct Sum final : Network {
  Weights own;
  std::shared_ptr<std::atomic<int>> exchanges = std::make_shared<std::atomic<int>>(0);
  explicit Sum(Weights weights) : own(std::move(weights)) {}

  std::vector<at::Tensor> run(std::vector<at::Tensor>) const override {
    at::Tensor sum = at::zeros({}, at::kDouble);
    for (const auto& [name, weight] : own) sum = sum + weight.to(at::kDouble).sum();
    return {sum};
  }
  const Weights& weights() const override { return own; }
  std::shared_ptr<const Network> with_weights(const Weights& changed) const override {
    ++*exchanges;
    auto result = std::make_shared<Sum>(*this);
    for (const auto& [name, weight] : changed) result->own.at(name) = weight;
    return result;
  }
};

/// A network with the weight "unet.a.weight" [2,3] and adapters, each of one layer, by name and value.
AdaptedNetwork adapted(const std::shared_ptr<Sum>& network, const std::map<std::string, double>& values,
                       int kept = 3) {
  std::map<std::string, WeightChanges> adapters;
  for (const auto& [name, value] : values)
    adapters[name]["unet.a.weight"] = {
        WeightChange{.key = name,
                     .layer = "a",
                     .first = AdapterMatrix{.up = at::full({2, 1}, value), .down = at::ones({1, 3})}}};
  return AdaptedNetwork(network, std::move(adapters), kept);
}

std::shared_ptr<Sum> one_weight() {
  return std::make_shared<Sum>(Weights{{"unet.a.weight", at::ones({2, 3})}});
}

double value(const Network& network) { return network.run({}).front().item<double>(); }

TEST_CASE("A low-rank layer is read in every form its keys have", "[unit]") {
  const at::Tensor down = numbered({2, 3}), up = numbered({4, 2}, 5.0);
  const std::vector<std::pair<std::string, std::string>> forms{
      {"unet.block.0.to_q.lora_A.weight", "unet.block.0.to_q.lora_B.weight"},
      {"transformer.block.0.to_q.lora_A.default.weight", "transformer.block.0.to_q.lora_B.default.weight"},
      {"base_model.model.block.0.to_q.lora_A.weight", "base_model.model.block.0.to_q.lora_B.weight"},
      {"block.0.to_q.lora_A.weight", "block.0.to_q.lora_B.weight"},
      {"unet.block.0.to_q.lora.down.weight", "unet.block.0.to_q.lora.up.weight"},
      {"unet.block.0.processor.to_q_lora.down.weight", "unet.block.0.processor.to_q_lora.up.weight"},
      {"diffusion_model.block.0.to_q.lora_down.weight", "diffusion_model.block.0.to_q.lora_up.weight"},
      {"lora_unet_block_0_to_q.lora_down.weight", "lora_unet_block_0_to_q.lora_up.weight"}};
  for (const auto& [first, second] : forms) {
    CAPTURE(first);
    const AdapterFile file = File({{first, down}, {second, up}}).read();
    for (const char* name :
         {"unet.block.0.to_q.weight", "transformer.block.0.to_q.weight", "block.0.to_q.weight"}) {
      const WeightChanges changes = match_adapter(file, "denoiser", {{name, at::zeros({4, 3})}});
      REQUIRE(changes.size() == 1);
      const WeightChange& layer = changes.at(name).front();
      CHECK(at::equal(layer.first.up, up));
      CHECK(at::equal(layer.first.down, down));
      CHECK(layer.factor == 1.0);
    }
  }
  const AdapterFile out = File({{"unet.a.processor.to_out_lora.down.weight", down},
                                {"unet.a.processor.to_out_lora.up.weight", up}})
                              .read();
  CHECK(match_adapter(out, "denoiser", {{"unet.a.to_out.0.weight", at::zeros({4, 3})}}).size() == 1);
}

TEST_CASE("Layers of text encoders are kept apart", "[unit]") {
  const at::Tensor down = numbered({2, 3}), up = numbered({4, 2});
  const AdapterFile file =
      File({{"unet.a.lora_A.weight", down},
            {"unet.a.lora_B.weight", up},
            {"lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", down},
            {"lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight", up},
            {"text_encoder_2.encoder.fc1.lora_linear_layer.down.weight", down},
            {"text_encoder_2.encoder.fc1.lora_linear_layer.up.weight", up}})
          .read();
  CHECK(file.layers.size() == 3);
  // transformers has and has not the level text_model, depending on its version.
  for (const char* name : {"text_encoder.text_model.encoder.layers.0.self_attn.q_proj.weight",
                           "text_encoder.encoder.layers.0.self_attn.q_proj.weight"})
    CHECK(match_adapter(file, "text_encoder", {{name, at::zeros({4, 3})}}).size() == 1);
  CHECK(match_adapter(file, "text_encoder_2", {{"text_encoder_2.encoder.fc1.weight", at::zeros({4, 3})}})
            .size() == 1);
  CHECK(match_adapter(file, "text_encoder_3", {}).empty());
}

TEST_CASE("Alpha comes from the file's own key, or from the settings diffusers stores", "[unit]") {
  const TensorMap layer{{"unet.a.to_q.lora_A.weight", numbered({4, 3})},
                        {"unet.a.to_q.lora_B.weight", numbered({2, 4})}};
  const auto factor = [&](const Metadata& metadata, std::optional<double> alpha = {}) {
    TensorMap tensors = layer;
    if (alpha) tensors["unet.a.to_q.alpha"] = at::full({}, *alpha);
    return File(tensors, metadata).read().layers.at("denoiser").front().factor;
  };
  const auto settings = [](const char* json) { return Metadata{{"lora_adapter_metadata", json}}; };
  CHECK(factor({}) == 1.0);
  CHECK(factor({}, 2.0) == 0.5);
  CHECK(factor({{"ss_network_alpha", "1"}}, 6.0) == 1.5);
  CHECK(factor(settings(R"({"unet.lora_alpha": 8, "unet.r": 4})")) == 2.0);
  CHECK(factor(settings(R"({"unet.lora_alpha": 8, "unet.use_rslora": true})")) == 4.0);
  CHECK(factor(settings(R"({"unet.lora_alpha": 8, "unet.alpha_pattern": {"to_q": 12, "a.to_k": 1}})")) ==
        3.0);
  CHECK(factor(settings(R"({"unet.lora_alpha": 8})"), 2.0) == 0.5);
  CHECK_THAT(refusal(layer, settings("[")), Contains("BadModel"));
  CHECK_THAT(refusal(layer, settings("[]")), Contains("lora_adapter_metadata: expected an object"));
}

TEST_CASE("Convolutions are changed through their flattened kernels", "[unit]") {
  const at::Tensor down = numbered({2, 3, 3, 3}), up = numbered({4, 2, 1, 1});
  const at::Tensor weight = numbered({4, 3, 3, 3}, -2.0);
  const auto network = std::make_shared<Sum>(Weights{{"unet.conv.weight", weight}});
  const AdapterFile file = File({{"lora_unet_conv.lora_down.weight", down},
                                 {"lora_unet_conv.lora_up.weight", up},
                                 {"lora_unet_conv.alpha", at::full({}, 1.0)}})
                               .read();
  const AdaptedNetwork both(network, {{"x", match_adapter(file, "denoiser", network->weights())}});
  at::Tensor wanted = weight.clone();
  for (int64_t o = 0; o < 4; ++o)
    for (int64_t r = 0; r < 2; ++r) wanted[o] += down[r] * up[o][r][0][0] * (-1.5 * 0.5);
  CHECK(at::allclose(both.at({{"x", -1.5}})->weights().at("unet.conv.weight"), wanted, 1e-5, 1e-6));
}

TEST_CASE("Names of the published checkpoints are translated", "[unit]") {
  const auto matched = [](const std::string& layer, const std::vector<std::string>& targets,
                          const std::vector<std::string>& others = {}) {
    Weights weights;
    for (const std::string& name : targets) weights.emplace(name + ".weight", at::zeros({2, 3}));
    for (const std::string& name : others) weights.emplace(name + ".weight", at::zeros({2, 3}));
    const auto rows = static_cast<int64_t>(2 * targets.size());
    const at::Tensor up = numbered({rows, 1});
    const AdapterFile file =
        File({{layer + ".lora_down.weight", numbered({1, 3})}, {layer + ".lora_up.weight", up}}).read();
    const WeightChanges changes = match_adapter(file, "denoiser", weights);
    CAPTURE(layer);
    CHECK(changes.size() == targets.size());
    int64_t row = 0;
    for (const std::string& name : targets) {
      REQUIRE(changes.contains(name + ".weight"));
      const WeightChange& part = changes.at(name + ".weight").front();
      CHECK(part.skipped == row);
      CHECK(part.changed == 2);
      row += 2;
    }
  };
  const std::string flux = "transformer.transformer_blocks.3.",
                    single = "transformer.single_transformer_blocks.12.";
  matched("lora_unet_double_blocks_3_img_attn_qkv",
          {flux + "attn.to_q", flux + "attn.to_k", flux + "attn.to_v"});
  matched("lora_unet_double_blocks_3_txt_attn_qkv",
          {flux + "attn.add_q_proj", flux + "attn.add_k_proj", flux + "attn.add_v_proj"});
  matched("lora_unet_double_blocks_3_txt_mlp_2", {flux + "ff_context.net.2"});
  matched("diffusion_model.double_blocks.3.img_mod.lin", {flux + "norm1.linear"});
  matched("lora_unet_single_blocks_12_linear1",
          {single + "attn.to_q", single + "attn.to_k", single + "attn.to_v", single + "proj_mlp"});
  matched("diffusion_model.blocks.7.self_attn.o", {"transformer.blocks.7.attn1.to_out.0"});
  matched("lora_unet_blocks_7_ffn_0", {"transformer.blocks.7.ffn.net.0.proj"});

  // SDXL: two residual layers a block, so the third member of a row changes the size.
  const std::vector<std::string> two{"unet.down_blocks.0.resnets.0.conv1",
                                     "unet.down_blocks.0.resnets.1.conv1"};
  const auto unet = [&](const std::string& layer, const std::string& target) {
    matched(layer, {target}, two);
  };
  unet("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
       "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q");
  unet("lora_unet_input_blocks_8_0_in_layers_2", "unet.down_blocks.2.resnets.1.conv1");
  unet("lora_unet_input_blocks_3_0_op", "unet.down_blocks.0.downsamplers.0.conv");
  unet("lora_unet_middle_block_1_proj_in", "unet.mid_block.attentions.0.proj_in");
  unet("lora_unet_middle_block_2_out_layers_3", "unet.mid_block.resnets.1.conv2");
  unet("lora_unet_output_blocks_5_1_proj_out", "unet.up_blocks.1.attentions.2.proj_out");
  unet("lora_unet_output_blocks_2_2_conv", "unet.up_blocks.0.upsamplers.0.conv");
  unet("lora_unet_output_blocks_7_0_emb_layers_1", "unet.up_blocks.2.resnets.1.time_emb_proj");
  unet("lora_unet_output_blocks_7_0_skip_connection", "unet.up_blocks.2.resnets.1.conv_shortcut");
  unet("lora_unet_label_emb_0_2", "unet.add_embedding.linear_2");
}

TEST_CASE("What cannot be applied is refused with the keys it is about", "[unit]") {
  const at::Tensor down = numbered({2, 3}), up = numbered({4, 2});
  CHECK_THAT(refusal({{"lora_unet_a.hada_w1_a", down}, {"lora_unet_a.alpha", at::full({}, 1.0)}}),
             Contains("'lora_unet_a': expected hada_w1_a and hada_w1_b, of which one is missing"));
  CHECK_THAT(refusal({{"unet.a.lora_A.weight", down}}),
             Contains("'unet.a': expected up (lora_B) and down (lora_A), of which one is missing"));
  CHECK_THAT(refusal({{"unet.a.lora_B.weight", up}}),
             Contains("'unet.a': expected up (lora_B) and down (lora_A), of which one is missing"));
  CHECK_THAT(
      refusal({{"unet.a.lora_A.weight", down}, {"unet.a.lora_B.weight", numbered({4, 3})}}),
      Contains(
          "'unet.a': expected up (lora_B) and down (lora_A) [out,r] and [r,in,...], got [4,3] and [2,3]"));
  CHECK_THAT(refusal({{"unet.a.lora_A.weight", down}, {"unet.a.lora_B.weight", numbered({4, 2, 3, 3})}}),
             Contains("'unet.a': expected up"));
  CHECK_THAT(refusal({{"unet.a.lora_A.weight", down.to(at::kLong)}, {"unet.a.lora_B.weight", up}}),
             Contains("'unet.a': expected floating point, got Long"));
  CHECK_THAT(refusal({{"unet.a.lora_A.weight", down}, {"unet.a.lora_B.weight", up}, {"unet.a.alpha", up}}),
             Contains("'unet.a': alpha: expected one number, got [4,2]"));
  CHECK_THAT(refusal({{"unet.a.lora_A.weight", down},
                      {"unet.a.lora_B.weight", up},
                      {"unet.a.alpha", at::full({}, std::numeric_limits<float>::infinity())}}),
             Contains("alpha: expected a finite number"));
  CHECK_THAT(refusal({{"unet.a.lora_A.one.weight", down}, {"unet.a.lora_A.two.weight", down}}),
             Contains("'unet.a' is there twice"));
  CHECK_THAT(refusal({}), Contains("no low-rank layers"));
  CHECK_THAT(test::failure([] { read_adapter("/nowhere/lora.safetensors"); }), Contains("NotFound"));

  const File truncated({{"unet.a.lora_A.weight", down}, {"unet.a.lora_B.weight", up}});
  const std::string bytes = test::read_bytes(truncated.path);
  test::write_bytes(truncated.path, bytes.substr(0, bytes.size() - 5));
  CHECK_THAT(test::failure([&] { truncated.read(); }), Contains("BadModel: " + truncated.path.string()));
}

TEST_CASE("Parts of other kinds that do not fit together are refused", "[unit]") {
  const at::Tensor down = numbered({2, 3}), up = numbered({4, 2});
  const auto with = [&](TensorMap more) {
    more["a.lora_A.weight"] = down;
    more["a.lora_B.weight"] = up;
    return refusal(more);
  };
  CHECK_THAT(with({{"a.dora_scale", numbered({5, 1})}}),
             Contains("'a': dora_scale: expected 4 values, one per output, or [1,in], got [5,1]"));
  for (const std::vector<int64_t>& wrong : {std::vector<int64_t>{1, 2}, {1, 0}, {0}})
    CHECK_THAT(with({{"a.dora_scale", numbered(wrong)}}), Contains("dora_scale: expected 4 values"));
  CHECK_THAT(with({{"a.dora_scale", numbered({4, 1})}, {"a.diff", numbered({4, 3})}}),
             Contains("expected one change of the weight and one dora_scale, got 2 changes"));
  CHECK_THAT(with({{"a.lora_mid.weight", numbered({2, 3, 1, 1})}}),
             Contains("expected a core [2,2,kh,kw], got [2,3,1,1]"));
  CHECK_THAT(refusal({{"a.lora_B.bias", numbered({4})}}), Contains("'a': a bias of lora_B without lora_B"));
  CHECK_THAT(refusal({{"a.dora_scale", numbered({4, 1})}}), Contains("expected one change of the weight"));
  CHECK_THAT(refusal({{"a.hada_w1_a", up},
                      {"a.hada_w1_b", down},
                      {"a.hada_w2_a", up},
                      {"a.hada_w2_b", numbered({2, 5})}}),
             Contains("expected two products of one shape, got [4,3] and [4,5]"));
  CHECK_THAT(refusal({{"a.hada_w1_a", up}, {"a.hada_w1_b", down}}),
             Contains("'a': expected hada_w2_a and hada_w2_b, of which one is missing"));
  CHECK_THAT(refusal({{"a.lokr_w1", up}, {"a.lokr_w2_a", up}}),
             Contains("'a': expected lokr_w2, or lokr_w2_a and lokr_w2_b, of which one is missing"));
  CHECK_THAT(refusal({{"a.diff", at::ones({}, at::kFloat)}}),
             Contains("'a': expected as many values as the weight has"));
  const AdapterFile columns = File({{"double_blocks.0.img_attn.qkv.lora_A.weight", down},
                                    {"double_blocks.0.img_attn.qkv.lora_B.weight", numbered({12, 2})},
                                    {"double_blocks.0.img_attn.qkv.dora_scale", numbered({1, 3})}})
                                  .read();
  const Weights fused{{"transformer_blocks.0.attn.to_q.weight", at::zeros({4, 3})},
                      {"transformer_blocks.0.attn.to_k.weight", at::zeros({4, 3})},
                      {"transformer_blocks.0.attn.to_v.weight", at::zeros({4, 3})}};
  CHECK_THAT(test::failure([&] { match_adapter(columns, "denoiser", fused); }),
             Contains("a dora_scale [1,in] of fused weights cannot be split"));
}

TEST_CASE(
    "What cannot change anything refuses no file; what may have refuses it, or is left out with a warning",
    "[unit]") {
  const TensorMap layer{{"unet.a.lora_A.weight", numbered({2, 3})},
                        {"unet.a.lora_B.weight", numbered({4, 2})}};
  const Weights weights{{"unet.a.weight", at::zeros({4, 3})}};
  const auto with = [&](TensorMap more) {
    more.insert(layer.begin(), layer.end());
    return more;
  };
  const File harmless(with({{"global_step", at::full({}, 7, at::kLong)},
                            {"trained", at::ones({2}, at::kBool)},
                            {"position_embedding", at::zeros({3, 3})},
                            {"unet.b.alpha", at::full({}, 4.0)},
                            {"unet.c.lora_A.weight", numbered({2, 3})},
                            {"unet.c.lora_B.weight", at::zeros({4, 2})},
                            {"unet.d.diff_b", at::zeros({4})}}));
  CHECK(match_adapter(harmless.read(), "denoiser", weights).size() == 1);

  const TensorMap stray = with({{"unet.a.oft_blocks", numbered({3})}, {"unet.e.diff", numbered({2})}});
  CHECK_THAT(refusal(stray), Contains("BadModel") &&
                                 Contains("belong to no layer of a kind that is known: unet.a.oft_blocks"));
  const File file(stray);
  std::vector<std::string> warnings;
  const auto warn = [&](const std::string& text) { warnings.push_back(text); };
  const AdapterFile read = read_adapter(AdapterSource(file.path, true), warn);
  REQUIRE(warnings.size() == 1);
  CHECK_THAT(warnings[0], Contains("left out") && Contains("unet.a.oft_blocks"));
  CHECK(match_adapter(read, "denoiser", weights, warn).size() == 1);
  REQUIRE(warnings.size() == 2);
  CHECK_THAT(warnings[1], Contains("left out 1 of 2 layers, for which the denoiser has no weights: unet.e"));
}

TEST_CASE("Tensors of dtypes that torch lacks refuse a file only as part of a layer", "[unit]") {
  const TensorMap layer{{"unet.a.lora_A.weight", numbered({2, 3})},
                        {"unet.a.lora_B.weight", numbered({4, 2})}};
  const auto read = [&](const std::string& name) {
    const File file(layer);
    const std::string bytes = test::read_bytes(file.path);
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    std::string header = bytes.substr(8, length), data = bytes.substr(8 + length);
    header.erase(header.find_last_of('}'));
    const size_t end = data.size();
    header +=
        fmt::format(R"(,"{}":{{"dtype":"F4","shape":[6],"data_offsets":[{},{}]}}}})", name, end, end + 3);
    length = header.size();
    test::write_bytes(file.path,
                      std::string(reinterpret_cast<const char*>(&length), 8) + header + data + "abc");
    return file.read().layers.at("denoiser").size();
  };
  CHECK(read("unet.a.scale_weight") == 1);
  CHECK_THAT(test::failure([&] { read("unet.b.lora_A.weight"); }),
             Contains("tensor 'unet.b.lora_A.weight': unknown dtype"));
}

TEST_CASE("Keys that match nothing are listed, and shapes that do not fit name the key", "[unit]") {
  TensorMap tensors;
  for (int i = 0; i < 10; ++i) {
    tensors["unet.other." + std::to_string(i) + ".lora_A.weight"] = numbered({2, 3});
    tensors["unet.other." + std::to_string(i) + ".lora_B.weight"] = numbered({4, 2});
  }
  tensors["unet.a.lora_A.weight"] = numbered({2, 3});
  tensors["unet.a.lora_B.weight"] = numbered({4, 2});
  const File file(tensors);
  const auto match = [&](const Weights& weights) {
    return test::failure([&] { match_adapter(file.read(), "denoiser", weights); });
  };
  CHECK_THAT(match({{"unet.a.weight", at::zeros({4, 3})}, {"unet.b.weight", at::zeros({4, 3})}}),
             Contains("InvalidArgument: " + file.path.string()) &&
                 Contains("no weights for 10 of 11 layers") && Contains("unet.other.0, unet.other.1") &&
                 Contains("and 2 more"));
  for (const at::Tensor& wrong : {at::zeros({4, 5}), at::zeros({5, 3}), at::zeros({4, 3, 3, 3})})
    CHECK_THAT(match({{"unet.a.weight", wrong}}),
               Contains("ShapeMismatch: ") &&
                   Contains("'unet.a' changes [4,3] values, which does not fit unet.a.weight"));
  CHECK_THAT(match({{"unet.a.b_c.weight", at::zeros({4, 3})}, {"unet.a_b.c.weight", at::zeros({4, 3})}}),
             Contains("BadModel") && Contains("cannot be told apart"));
}

TEST_CASE("A scale set is formed once and kept while it is among the last ones used", "[unit]") {
  const auto network = one_weight();
  const AdaptedNetwork both = adapted(network, {{"x", 0.5}, {"y", -2.0}}, 2);
  CHECK(both.names() == std::vector<std::string>{"x", "y"});
  CHECK(value(*both.at({})) == 6.0);
  CHECK(value(*both.at({{"x", 1.0}})) == 9.0);
  CHECK(value(*both.at({{"x", -1.0}})) == 3.0);
  CHECK(*network->exchanges == 2);
  const auto strong = both.at({{"x", 1.0}});
  CHECK(both.at({{"x", 1.0}, {"y", 0.0}}) == strong);  // a scale of 0 makes no other set
  CHECK(both.at({{"x", -1.0}})->run({}).size() == 1);
  CHECK(*network->exchanges == 2);
  CHECK(value(*both.at({{"x", 2.0}, {"y", 0.5}})) == 6.0);  // displaces x = 1
  CHECK(both.at({{"x", 1.0}}) != strong);
  CHECK(*network->exchanges == 4);
  CHECK(value(*strong) == 9.0);  // whoever holds a set keeps it
  CHECK(value(*network) == 6.0);
}

TEST_CASE("Threads that ask for one set share it, and other sets do not wait for each other's weights",
          "[unit]") {
  const auto network = one_weight();
  const AdaptedNetwork sets = adapted(network, {{"x", 1.0}}, 4);
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const double scale = 1.0 + (t + i) % 4;
        if (value(*sets.at({{"x", scale}})) != 6.0 + 6.0 * scale) ++wrong;
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK(*network->exchanges == 4);
}

TEST_CASE("Weights are formed in float32 and rounded once", "[unit]") {
  const auto network =
      std::make_shared<Sum>(Weights{{"unet.a.weight", at::full({1, 1}, 1.0, at::kBFloat16)}});
  const auto change = [](double up) {
    return WeightChanges{
        {"unet.a.weight",
         {WeightChange{.key = "k",
                       .layer = "a",
                       .first = AdapterMatrix{.up = at::full({1, 1}, up), .down = at::ones({1, 1})}}}}};
  };
  // Each half step alone would be rounded away; together they are one step of bfloat16 at 1, which is 1/128.
  const AdaptedNetwork halves(network, {{"x", change(1.0 / 256)}, {"y", change(1.0 / 256)}});
  const at::Tensor formed = halves.at({{"x", 1.0}, {"y", 1.0}})->weights().at("unet.a.weight");
  CHECK(formed.scalar_type() == at::kBFloat16);
  CHECK(formed.item<float>() == 1.0F + 1.0F / 128);
}

TEST_CASE(
    "Adapters that are not there, scales that are no numbers and networks that cannot change are refused",
    "[unit]") {
  const AdaptedNetwork network = adapted(one_weight(), {{"detail", 1.0}});
  CHECK(test::failure([&] {
          network.at({{"detial", 1.0}});
        }) == "InvalidArgument: adapters: there is no adapter 'detial'; did you mean 'detail'?");
  CHECK(value(*network.at({{"other", 0.0}})) == 6.0);
  CHECK_THAT(test::failure([&] {
               network.at({{"detail", std::numeric_limits<double>::quiet_NaN()}});
             }),
             Contains("InvalidArgument: adapters.detail: expected a finite scale, got nan"));
  CHECK_THAT(test::failure([&] { adapted(one_weight(), {}, 0); }), Contains("InvalidArgument: adapter_sets"));
  CHECK_THAT(test::failure([&] {
               adapted(std::make_shared<Sum>(Weights{}), {{"x", 1.0}});
             }),
             Contains("InvalidArgument: adapters: the network's weights cannot be changed"));
}

TEST_CASE("A TorchScript module runs with other weights; what is wrong with them is named", "[unit]") {
  const auto network = load_network(test::data("modules/denoiser.pt"), Backend::TorchScript, {.pack = false});
  const TensorMap expected = read_safetensors(test::data("modules/expected.safetensors"));
  std::vector<at::Tensor> inputs;
  for (const char* name : {"a.latents", "a.time", "a.tokens", "a.pooled"})
    inputs.push_back(expected.at(name));
  REQUIRE(network->weights().contains("out.weight"));
  const at::Tensor before = network->run(inputs)[0];
  const Weights& weights = network->weights();
  const auto doubled = network->with_weights(
      {{"out.weight", weights.at("out.weight").mul(2.0)}, {"out.bias", weights.at("out.bias").mul(2.0)}});
  CHECK(at::allclose(doubled->run(inputs)[0], before.mul(2.0), 1e-5, 1e-6));
  CHECK(at::equal(network->run(inputs)[0], before));
  CHECK(doubled->attention_layers() == network->attention_layers());
  CHECK(doubled->weights().empty());
  CHECK_THAT(test::failure([&] {
               network->with_weights({{"in.weight", before}});
             }),
             Contains("InvalidArgument: ") && Contains("has no weight 'in.weight'"));
  CHECK_THAT(test::failure([&] {
               network->with_weights({{"out.weight", before}});
             }),
             Contains("ShapeMismatch: ") && Contains("out.weight: expected [4,8,3,3]"));
  CHECK_THAT(test::failure([&] {
               network->with_weights({{"out.weight", weights.at("out.weight").to(at::kDouble)}});
             }),
             Contains("UnsupportedDtype: ") && Contains("out.weight"));

  const auto program = load_network(test::data("modules/denoiser.pt2"), Backend::ExportedProgram);
  CHECK(program->weights().empty());
  CHECK_THAT(test::failure([&] {
               program->with_weights({{"out.weight", before}});
             }),
             Contains("InvalidArgument"));
}

}  // namespace GLINT_TEST_FILE
