#include "tests/fuzz/harnesses.hpp"

#include "collect/folder.hpp"
#include "io/file.hpp"
#include "io/json.hpp"
#include "io/safetensors_content.hpp"
#include "lora/adapter_content.hpp"
#include "tests/fuzz/input.hpp"
#include "text/web_text.hpp"

#include <glint/bundle/manifest.hpp>
#include <glint/catalog/registry.hpp>
#include <glint/core/error.hpp>
#include <glint/image/png.hpp>
#include <glint/image/webp.hpp>
#include <glint/io/sha256.hpp>
#include <glint/io/utf8.hpp>
#include <glint/text/subword_tokenizers.hpp>

#include <ATen/ops/arange.h>

#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>

namespace glint::fuzz {
namespace {

/// Ends the process: a fuzzer keeps the input, a test reports the signal.
void must(bool holds) {
  if (!holds) std::abort();
}

/// Runs `function` and takes a glint::Error with a message in UTF-8 for an answer.
template <typename Function>
bool accepted(Function&& function) {
  try {
    function();
    return true;
  } catch (const Error& error) {
    must(!invalid_utf8_offset(error.what()));
    return false;
  }
}

void json(std::string_view input) {
  accepted([&] {
    const nlohmann::json value = detail::parse_json(input, "json");
    must(value == detail::parse_json(value.dump(), "again"));
    must(value == nlohmann::json::parse(printable_json(value.dump())));
    must(!invalid_utf8_offset(detail::describe(value)));
  });
}

void manifest(std::string_view input) {
  accepted([&] { parse_manifest(input); });
}

void safetensors(std::string_view input) {
  accepted([&] {
    // Reads every byte, for the sanitizer.
    for (const auto& [name, tensor] : detail::parse_safetensors(content(input), "fuzz"))
      static_cast<void>(sha256({static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()}));
  });
}

void adapter(std::string_view input) {
  accepted([&] { detail::parse_adapter(content(input), "fuzz"); });
}

/// A tokenizer from the first part of the input encodes the rest.
template <typename Parse>
void tokenizer(std::string_view input, Parse&& parse) {
  accepted([&] {
    const size_t cut = input.rfind('\n');
    const std::string_view prompt = cut == input.npos ? "a red star" : input.substr(cut + 1);
    const auto made = parse(input.substr(0, cut));
    const TokenizedPrompt told = made.encode(prompt);
    must(static_cast<int64_t>(told.ids.size()) == made.length() && told.used <= made.length());
    for (const auto* words : {&told.unknown, &told.dropped})
      for (const std::string& word : *words) must(printable(word).size() >= word.size());
  });
}

constexpr TokenFrame kFrame{.max_tokens = 12, .bos = 1, .eos = 2, .pad = 3};

void words(std::string_view input) {
  tokenizer(input, [](std::string_view text) { return WordTokenizer::parse(text, "fuzz"); });
}

void clip(std::string_view input) {
  tokenizer(input, [](std::string_view text) { return ClipTokenizer::parse(text, "fuzz", kFrame); });
}

void sentencepiece(std::string_view input) {
  tokenizer(input, [](std::string_view text) { return SentencePieceTokenizer::parse(text, "fuzz", kFrame); });
}

void options(std::string_view input) {
  accepted([&] {
    const Choice choice = parse_choice(input);
    const std::string kind(builtins().entry(choice.name).info.kind);
    if (kind == "rule") builtins().rule(choice);
    if (kind == "solver") builtins().solver(choice);
    if (kind == "attention") builtins().attention(choice);
  });
  accepted([&] { parse_options(input); });
}

void png(std::string_view input) {
  accepted([&] {
    PngTexts texts;
    const Image image = decode_png({reinterpret_cast<const uint8_t*>(input.data()), input.size()}, &texts);
    if (image.pixels.size() > size_t{1} << 16) return;
    std::erase_if(texts, [](const auto& text) {
      return text.first.empty() || text.first.size() > 79 ||
             !std::all_of(text.first.begin(), text.first.end(), [](char c) { return c >= ' ' && c <= '~'; });
    });
    PngTexts again;
    must(decode_png(encode_png(image, texts), &again) == image && again == texts);
  });
}

/// A video whose sizes and pixels the input gives is written and its texts read back.
void webp(std::string_view input) {
  webp_texts({reinterpret_cast<const uint8_t*>(input.data()), input.size()});
  if (input.size() < 4) return;
  const auto at = [&](size_t i) { return static_cast<uint8_t>(input[i % input.size()]); };
  const int64_t width = 1 + at(0) % 9, height = 1 + at(1) % 9;
  Video video{.frames = std::vector<Image>(1 + at(2) % 4, Image{width, height, {}})};
  size_t next = 3;
  for (Image& frame : video.frames)
    for (int64_t i = 0; i < 3 * width * height; ++i) frame.pixels.push_back(at(next++));
  const std::string text(input.substr(3));
  accepted([&] {
    const PngTexts read = webp_texts(encode_webp(video, {.lossless = true}, {{"prompt", text}}));
    const bool kept = std::none_of(text.begin(), text.end(), [](char c) {
      return static_cast<unsigned char>(c) < ' ' && c != '\n' && c != '\r' && c != '\t';
    });
    must(read.contains("prompt") && (!kept || read.at("prompt") == text));
  });
}

void text(std::string_view input) {
  const std::string shown = printable(input);
  must(!invalid_utf8_offset(shown) && printable(shown) == shown);
  for (const size_t columns : {0, 1, 3, 7, 40}) {
    const std::string cut = shortened(shown, columns);
    must(columns_of(cut) <= columns && !invalid_utf8_offset(cut));
  }
}

void prompt(std::string_view input) {
  if (invalid_utf8_offset(input)) return;  // encoders refuse it before
  must(!invalid_utf8_offset(detail::clean_web_text(input)));
}

/// What decides that a folder holds another collection: not the fuzzer's.
const nlohmann::ordered_json kIdentity{
    {"format", 1}, {"kind", "fuzz"}, {"options", {{"count", 2}, {"shard", 1}}}};
const std::vector<std::string> kPrompts{"a red star"};

std::filesystem::path collection_folder() {
  return std::filesystem::temp_directory_path() / ("glint-fuzz-" + std::to_string(::getpid()));
}

/// The input is a manifest and, after a zero byte, the first of two shards: no more is believed than fits.
void collection(std::string_view input) {
  const std::filesystem::path folder = collection_folder();
  std::filesystem::create_directory(folder);
  const size_t cut = std::min(input.find('\0'), input.size());
  std::ofstream(folder / "collection.json", std::ios::binary) << input.substr(0, cut);
  if (cut < input.size())
    std::ofstream(folder / "shard-00000.safetensors", std::ios::binary) << input.substr(cut + 1);
  accepted([&] {
    const detail::CollectionFolder opened(folder, kIdentity, kPrompts, {});
    const auto all = opened.all();
    must(all.items == all.shards && all.kept >= 0 && all.kept <= all.items && all.shards <= 1);
    must(opened.missing(0) == all.shards);
  });
  std::filesystem::remove_all(folder);
}

std::string whole_collection() {
  const std::filesystem::path folder = collection_folder();
  {
    detail::CollectionFolder made(folder, kIdentity, kPrompts, {});
    made.add(0, {{"seed", at::arange(1)}}, 1);
  }
  const auto text = [&](const char* name) { return std::string(detail::FileBytes(folder / name).text()); };
  const std::string seed = text("collection.json") + '\0' + text("shard-00000.safetensors");
  std::filesystem::remove_all(folder);
  return seed;
}

const std::array kHarnesses{
    Harness{"json", json, {"models/emoji-flow/model.json"}},
    Harness{"manifest", manifest, {"models/emoji-flow/model.json"}},
    Harness{"safetensors", safetensors, {"tests/data/families/sdxl/released.safetensors"}},
    Harness{"adapter",
            adapter,
            {"tests/data/families/flux/lora-kohya.safetensors",
             "tests/data/families/sdxl/kind-lokr-both.safetensors",
             "tests/data/families/sdxl/kind-loha.safetensors",
             "tests/data/families/sdxl/kind-dora-columns.safetensors"}},
    Harness{"words", words, {"tests/data/modules/tokenizer.json"}},
    Harness{"clip", clip},
    Harness{"sentencepiece", sentencepiece, {"tests/data/families/wan/tokenizer.model"}},
    Harness{"prompt", prompt},
    Harness{"options", options},
    Harness{"png", png},
    Harness{"webp", webp},
    Harness{"text", text},
    Harness{"collection", collection, {}, whole_collection}};

}  // namespace

std::span<const Harness> harnesses() { return kHarnesses; }

std::vector<std::string> seeds(const Harness& harness, const std::filesystem::path& source) {
  std::vector<std::string> seeds;
  const auto add = [&](const std::filesystem::path& file) {
    seeds.emplace_back(detail::FileBytes(file).text());
  };
  std::error_code none;
  for (const auto& file :
       std::filesystem::directory_iterator(source / "tests/fuzz/corpus" / harness.name, none))
    add(file.path());
  for (const std::string& file : harness.files) add(source / file);
  if (harness.made) seeds.push_back(harness.made());
  return seeds;
}

}  // namespace glint::fuzz
