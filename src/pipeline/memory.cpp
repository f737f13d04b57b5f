#include "pipeline/memory.hpp"

#include <glint/core/error.hpp>
#include <glint/text/prompt_encoder.hpp>

#include <algorithm>

namespace glint::detail {

void check_memory(const GenerateRequest& request, const Bundle& bundle) {
  const int64_t limit = bundle.options().memory_limit;
  if (limit == 0) return;
  const auto check = [&](std::vector<std::string> components) {
    std::erase_if(components, [&](const std::string& name) { return !bundle.has(name); });
    int64_t bytes = 0;
    for (const std::string& name : components) bytes += bundle.weight_bytes(name);
    GLINT_CHECK(bytes <= limit, OutOfMemory, "memory_limit: expected at least the {} bytes of {}, got {}",
                bytes, joined_text(components, " and "), limit);
  };
  const std::vector<std::string> decoder{"vae_decoder", "vae_decoder_next"};
  std::vector<std::string> sample{"denoiser"};
  if (request.previews) sample.insert(sample.end(), decoder.begin(), decoder.end());
  if (!request.conditioning) check(PromptEncoder::components(bundle.manifest().family));
  check(sample);
  if (request.decode) check(decoder);
}

}  // namespace glint::detail
