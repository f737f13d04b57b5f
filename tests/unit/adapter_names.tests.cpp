// The keys of adapter files, and the tables of them in docs/models.md.
#include "lora/adapter_names.hpp"

#include "family/family.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <set>

using namespace glint;
using detail::AdapterPart;

namespace GLINT_TEST_FILE {

std::string ending_text(const detail::KeyEnding& ending) {
  return fmt::format("`{}{}{}`", ending.text, ending.named ? "[.ADAPTER]" : "", ending.tail);
}

/// The tables of docs/models.md, from what the library reads.
std::string tables() {
  std::string text = "| kind | keys end with | W at scale s becomes | in memory |\n|---|---|---|---|\n";
  for (const detail::ChangeKind& kind : detail::change_kinds()) {
    std::string endings;
    for (const detail::KeyEnding& ending : kind.endings)
      endings += (endings.empty() ? "" : ", ") + ending_text(ending);
    text += fmt::format("| {} | {} | {} | {} |\n", kind.name, endings, kind.formula, kind.memory);
  }
  text += "\n| component | keys begin with |\n|---|---|\n";
  std::vector<std::pair<std::string, std::string>> components;
  for (const auto& [prefix, component] : detail::component_prefixes()) {
    if (components.empty() || components.back().first != component) components.emplace_back(component, "");
    std::string& all = components.back().second;
    all += fmt::format("{}`{}`", all.empty() ? "" : ", ", prefix);
  }
  for (const auto& [component, prefixes] : components)
    text += fmt::format("| `{}` | {}{} |\n", component, prefixes,
                        component == "denoiser" ? ", or none of these" : "");
  text += "\n| family | layers of the published checkpoint |\n|---|---|\n";
  for (const families::Family& family : families::all()) {
    std::string names;
    for (const families::LayerName& layer : family.layer_names)
      names += fmt::format("{}`{}`", names.empty() ? "" : ", ", layer.published);
    if (family.layer_name) names += ", and those of its numbered blocks";
    if (!names.empty()) text += fmt::format("| `{}` | {} |\n", family.name, names);
  }
  return text;
}

TEST_CASE("docs/models.md has the tables of the keys that are read", "[unit]") {
  const std::filesystem::path file = test::source_dir() / "docs/models.md";
  std::string page = test::read_bytes(file);
  const std::string first = "<!-- adapter tables -->\n", last = "<!-- end of adapter tables -->";
  const size_t begin = page.find(first), end = page.find(last);
  REQUIRE(begin != std::string::npos);
  REQUIRE(end != std::string::npos);
  const std::string there = page.substr(begin + first.size(), end - begin - first.size());
  if (std::getenv("GLINT_WRITE_TABLES")) {
    test::write_bytes(file, page.replace(begin + first.size(), there.size(), tables()));
    return;
  }
  INFO("GLINT_WRITE_TABLES=1 in the environment of this test writes them");
  CHECK(there == tables());
}

TEST_CASE("Every ending and every prefix of a key is taken off, whatever it is combined with", "[unit]") {
  for (const detail::ChangeKind& kind : detail::change_kinds()) {
    for (const detail::KeyEnding& ending : kind.endings) {
      for (const auto& [prefix, component] : detail::component_prefixes()) {
        for (const char* wrapper : {"", "base_model.model."}) {
          for (const char* adapter : {"", ".default"}) {
            if (*adapter != '\0' && !ending.named) continue;
            const std::string layer = std::string(prefix).ends_with('_') ? "blocks_3_to_q" : "blocks.3.to_q";
            const std::string key =
                fmt::format("{}{}{}{}{}{}", wrapper, prefix, layer, ending.text, adapter, ending.tail);
            CAPTURE(key);
            const auto parsed = detail::parse_adapter_key(key);
            REQUIRE(parsed);
            CHECK(parsed->part == ending.part);
            CHECK(parsed->component == component);
            CHECK(parsed->layer == layer + std::string(ending.kept));
          }
        }
      }
    }
  }
}

TEST_CASE("Underscores before an ending are none of the layer's name", "[unit]") {
  for (const char* key : {"lora_unet_a_to_q_.lora_down.weight", "lora_unet_a_to_q__lora_down.weight",
                          "lora_unet_a_to_q_.alpha", "lora_unet_a_to_q_.hada_w1_a"}) {
    CAPTURE(key);
    const auto parsed = detail::parse_adapter_key(key);
    REQUIRE(parsed);
    CHECK(parsed->name == "lora_unet_a_to_q");
    CHECK(parsed->layer == "a_to_q");
  }
  for (const char* key :
       {"", "weight", ".weight", "a.weight", "a.bias", "lora_A.weight", ".lora_A.weight", "_.alpha",
        "a.lora_A.two.names.weight", "a.on_input", "a.oft_blocks", "a.hada_w1_a.x.y"}) {
    CAPTURE(key);
    CHECK_FALSE(detail::parse_adapter_key(key));
  }
}

TEST_CASE("Every name of a published checkpoint leads to layers of its own", "[unit]") {
  for (const families::Family& family : families::all()) {
    std::set<std::string_view> published;
    for (const families::LayerName& layer : family.layer_names) {
      CAPTURE(family.name, layer.published);
      CHECK(published.insert(layer.published).second);
      CHECK((layer.published.find('#') == std::string_view::npos) ==
            (layer.ours.find('#') == std::string_view::npos));
    }
  }
}

TEST_CASE("An output's modulation has its halves swapped, another's does not", "[unit]") {
  const auto found = [](const Weights& weights, const char* layer) {
    return detail::WeightIndex(weights).find(layer, "weight").front().halves_swapped;
  };
  const Weights flux{{"transformer.norm_out.linear.weight", at::zeros({8, 4})},
                     {"transformer.transformer_blocks.0.norm1.linear.weight", at::zeros({24, 4})}};
  CHECK(found(flux, "final_layer.adaLN_modulation.1"));
  CHECK_FALSE(found(flux, "norm_out.linear"));
  CHECK_FALSE(found(flux, "double_blocks.0.img_mod.lin"));
  const Weights sd3{{"transformer.transformer_blocks.0.norm1_context.linear.weight", at::zeros({24, 4})},
                    {"transformer.transformer_blocks.1.norm1_context.linear.weight", at::zeros({8, 4})}};
  CHECK_FALSE(found(sd3, "joint_blocks_0_context_block_adaLN_modulation_1"));
  CHECK(found(sd3, "joint_blocks_1_context_block_adaLN_modulation_1"));
}

}  // namespace GLINT_TEST_FILE
