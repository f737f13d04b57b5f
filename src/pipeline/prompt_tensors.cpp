#include <glint/core/error.hpp>
#include <glint/core/nearest.hpp>
#include <glint/pipeline/request.hpp>

#include <algorithm>

namespace glint {

Prompt prompt_from_tensors(const std::map<std::string, at::Tensor>& tensors) {
  Prompt prompt;
  const auto take = [&](const std::string& name, int64_t rank) -> at::Tensor {
    const auto found = tensors.find(name);
    if (found == tensors.end()) return {};
    GLINT_CHECK(found->second.dim() == rank && at::isFloatingType(found->second.scalar_type()), BadModel,
                "conditioning.{}: expected {} dimensions of floating point, got {} of {}", name, rank,
                shape_string(found->second.sizes()), c10::toString(found->second.scalar_type()));
    return found->second.to(at::kFloat).unsqueeze(0);
  };
  const std::vector<std::string> known{"tokens", "pooled", "null_tokens", "null_pooled"};
  for (const auto& [name, tensor] : tensors)
    GLINT_CHECK(std::find(known.begin(), known.end(), name) != known.end(), BadModel,
                "conditioning: unknown tensor '{}'{}", name, did_you_mean(name, known));
  prompt.cond = Conditioning{.tokens = take("tokens", 2), .pooled = take("pooled", 1)};
  prompt.uncond = Conditioning{.tokens = take("null_tokens", 2), .pooled = take("null_pooled", 1)};
  GLINT_CHECK(prompt.cond.tokens.defined(), BadModel,
              "conditioning: expected a tensor 'tokens' [L,D], got none");
  return prompt;
}

}  // namespace glint
