// Says what glint's readers make of given inputs, for tools/golden/test_differential.py, which asks the
// readers that others use the same. Standard input is {KIND: REQUEST}, standard output a JSON array of
// answers, each an object with "error" if the input is refused:
//   {"json": [HEX...]}           the value
//   {"safetensors": [HEX...]}    name -> [dtype, shape, SHA-256 of the bytes]
//   {"web_text": [HEX...]}       the text as Wan's prompts are cleaned
//   {"clip" or "sentencepiece": {"models": [HEX...], "prompts": [...]}}    ids, without padding
#include "io/json.hpp"
#include "io/safetensors_content.hpp"
#include "tests/fuzz/input.hpp"
#include "text/web_text.hpp"

#include <glint/core/error.hpp>
#include <glint/io/sha256.hpp>
#include <glint/text/subword_tokenizers.hpp>

#include <nlohmann/json.hpp>

#include <iostream>

namespace {

using nlohmann::json;

std::string bytes_of(const json& hex) {
  const auto& digits = hex.get_ref<const std::string&>();
  std::string bytes;
  for (size_t i = 0; i + 1 < digits.size(); i += 2)
    bytes.push_back(static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16)));
  return bytes;
}

json tensors_of(const std::string& bytes) {
  json told = json::object();
  for (const auto& [name, tensor] : glint::detail::parse_safetensors(glint::fuzz::content(bytes), "input")) {
    const std::string_view values{static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()};
    told[name] = {c10::toString(tensor.scalar_type()), tensor.sizes().vec(), glint::sha256(values)};
  }
  return told;
}

json ids_of(const glint::Tokenizer& tokenizer, const json& prompts) {
  json told = json::array();
  for (const json& prompt : prompts) {
    const glint::TokenizedPrompt encoded = tokenizer.encode(prompt.get<std::string>());
    told.push_back(std::vector<int64_t>(encoded.ids.begin(), encoded.ids.begin() + encoded.used));
  }
  return told;
}

template <typename Reader>
json answers(const json& inputs, Reader&& read) {
  json told = json::array();
  for (const json& input : inputs) {
    try {
      told.push_back(read(bytes_of(input)));
    } catch (const glint::Error& error) {
      told.push_back({{"error", error.what()}});
    }
  }
  return told;
}

}  // namespace

int main() {
  const json request = json::parse(std::cin);
  const std::string& kind = request.begin().key();
  const json& asked = request.begin().value();
  const glint::TokenFrame frame{.max_tokens = 1 << 14, .bos = 0, .eos = 1, .pad = 0};
  json told;
  if (kind == "json") {
    told = answers(asked, [](const std::string& input) {
      return json{{"value", glint::detail::parse_json(input, "input")}};
    });
  } else if (kind == "safetensors") {
    told = answers(asked, tensors_of);
  } else if (kind == "web_text") {
    told = answers(asked, [](const std::string& input) {
      return json{{"text", glint::detail::clean_web_text(input)}};
    });
  } else if (kind == "clip") {
    told = answers(asked["models"], [&](const std::string& model) {
      return ids_of(glint::ClipTokenizer::parse(model, "input", frame), asked["prompts"]);
    });
  } else if (kind == "sentencepiece") {
    told = answers(asked["models"], [&](const std::string& model) {
      return ids_of(glint::SentencePieceTokenizer::parse(model, "input", frame), asked["prompts"]);
    });
  } else {
    std::cerr << "glint_verdict: unknown kind " << kind << '\n';
    return 2;
  }
  std::cout << told.dump() << '\n';
}
