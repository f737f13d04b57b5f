// Adapter files that are refused by the name of what they are, or of what they ask for.
#include <glint/io/safetensors.hpp>
#include <glint/lora/adapter.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <ATen/ops/ones.h>

#include <fmt/format.h>

using namespace glint;
using test::Contains;

namespace GLINT_TEST_FILE {

AdapterFile read(const TensorMap& tensors, const Metadata& metadata) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder / "lora.safetensors";
  write_safetensors(path, tensors, metadata);
  return read_adapter(path);
}

std::string refusal(const TensorMap& tensors, const Metadata& metadata) {
  return test::failure([&] { read(tensors, metadata); });
}

TEST_CASE("Settings that no change of a weight can express are refused by name", "[unit]") {
  const TensorMap layer{{"unet.a.to_q.lora_A.weight", at::ones({4, 3})},
                        {"unet.a.to_q.lora_B.weight", at::ones({2, 4})}};
  const auto said = [&](const std::string& field) {
    return refusal(layer, {{"lora_adapter_metadata", R"({"unet.lora_alpha": 8, )" + field + "}"}});
  };
  for (const char* name : {"pissa", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga", "mica"})
    CHECK_THAT(
        said(fmt::format(R"("unet.init_lora_weights": "{}")", name)),
        Contains(fmt::format("unet.init_lora_weights: string \"{}\" changes the base's weights", name)));
  CHECK_THAT(said(R"("unet.use_qalora": true)"), Contains("unet.use_qalora: expected nothing"));
  CHECK_THAT(said(R"("unet.layer_replication": [[0, 4]])"), Contains("unet.layer_replication: expected"));
  CHECK_THAT(said(R"("unet.use_rslora": "yes")"), Contains("use_rslora: expected true or false, got string"));
  CHECK_THAT(said(R"("unet.use_dora": true)"),
             Contains("use_dora is true, but the layer has no lora_magnitude_vector"));
  CHECK_THAT(said(R"("unet.alpha_pattern": [1])"), Contains("alpha_pattern: expected an object, got"));
  CHECK_THAT(said(R"("unet.alpha_pattern": {"to_q": "2"})"), Contains("lora_alpha: expected a number, got"));
  CHECK_THAT(refusal(layer, {{"lora_adapter_metadata", R"({"unet.lora_alpha": "8"})"}}),
             Contains("unet.lora_alpha: expected a number, got string"));
  const Metadata plain{{"lora_adapter_metadata", R"({
      "unet.lora_alpha": 8, "unet.init_lora_weights": "gaussian", "unet.use_qalora": false,
      "unet.use_dora": false,
      "unet.layer_replication": null, "unet.rank_pattern": {}, "unet.alpha_pattern": null,
      "unet.target_modules": ["to_q"], "unet.some_later_option": []})"}};
  CHECK(read(layer, plain).layers.at("denoiser").front().factor == 2.0);
}

TEST_CASE("Files of other formats are refused by the format's name", "[unit]") {
  for (const auto& [key, format] : std::initializer_list<std::pair<std::string, std::string>>{
           {"lora_unet_a.oft_blocks", "OFT"},
           {"oft_unet_a.oft_diag", "OFT"},
           {"base_model.model.a.boft_R", "BOFT"},
           {"base_model.model.a.ia3_l", "IA3"},
           {"lycoris_a.a1.weight", "GLoRA"},
           {"emb_params", "a textual inversion"},
           {"clip_g", "a textual inversion"},
           {"ip_adapter.1.to_k_ip.weight", "an IP adapter"},
           {"first_stage_model.decoder.conv_in.weight", "a whole checkpoint"},
           {"x_embedder.weight", "a whole network"}})
    CHECK_THAT(refusal({{key, at::ones({4, 3})}}, {}),
               Contains("this is " + format + ", which is not supported; these tensors belong to no layer"));
}

}  // namespace GLINT_TEST_FILE
