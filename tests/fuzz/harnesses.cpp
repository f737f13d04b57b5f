#include "tests/fuzz/harnesses.hpp"

#include "io/file.hpp"
#include "io/json.hpp"
#include "io/safetensors_content.hpp"
#include "lora/adapter_content.hpp"

#include <glint/bundle/manifest.hpp>
#include <glint/catalog/registry.hpp>
#include <glint/core/error.hpp>
#include <glint/image/png.hpp>
#include <glint/image/webp.hpp>
#include <glint/io/sha256.hpp>
#include <glint/io/utf8.hpp>
#include <glint/text/subword_tokenizers.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
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
    must(!invalid_utf8_offset(printable(error.what())));
    return false;
  }
}

/// The input as a file's content: readers take files.
std::shared_ptr<const detail::FileBytes> content(std::string_view input) {
  const int descriptor = ::memfd_create("fuzz", MFD_CLOEXEC);
  must(descriptor >= 0 &&
       ::write(descriptor, input.data(), input.size()) == static_cast<ssize_t>(input.size()));
  auto file = std::make_shared<const detail::FileBytes>("/proc/self/fd/" + std::to_string(descriptor));
  ::close(descriptor);
  return file;
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

constexpr std::array kHarnesses{Harness{"json", json},
                                Harness{"manifest", manifest},
                                Harness{"safetensors", safetensors},
                                Harness{"adapter", adapter},
                                Harness{"words", words},
                                Harness{"clip", clip},
                                Harness{"sentencepiece", sentencepiece},
                                Harness{"options", options},
                                Harness{"png", png},
                                Harness{"webp", webp},
                                Harness{"text", text}};

}  // namespace

std::span<const Harness> harnesses() { return kHarnesses; }

}  // namespace glint::fuzz
