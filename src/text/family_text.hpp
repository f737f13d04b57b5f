// What each published family makes of a prompt: the encoders it has, and how their outputs are put together.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace glint::detail {

/// One family. Encoders are counted from 0; encoder i is the component numbered("text_encoder", i), fed by
/// numbered("tokenizer", i).
struct FamilyText {
  std::string_view family;
  size_t encoders;
  std::vector<size_t> side_by_side;  ///< whose tokens are joined along D
  std::optional<size_t> behind;  ///< whose tokens follow along L, the former filled up with zeros to its D
  std::vector<size_t> pooled;    ///< whose pooled embeddings are joined along P
  bool time_ids;                 ///< the network is told the picture's size
  std::vector<std::string_view> inputs;  ///< what the denoiser takes of all this
};

/// Returns the family's row; null for those whose only encoder gives the conditioning as it is.
inline const FamilyText* family_text(std::string_view family) {
  static const std::array<FamilyText, 4> rows{{
      {"sdxl", 2, {0, 1}, {}, {1}, true, {"tokens", "pooled", "time_ids"}},
      {"sd3", 3, {0, 1}, 2, {0, 1}, false, {"tokens", "pooled"}},
      {"flux", 2, {1}, {}, {0}, false, {"tokens", "pooled"}},
      {"wan", 1, {0}, {}, {}, false, {"tokens"}},
  }};
  const auto* row =
      std::find_if(rows.begin(), rows.end(), [&](const FamilyText& text) { return text.family == family; });
  return row == rows.end() ? nullptr : row;
}

/// Returns the component's name: `role`, role_2, role_3, ...
inline std::string numbered(const std::string& role, size_t index) {
  return index == 0 ? role : role + "_" + std::to_string(index + 1);
}

}  // namespace glint::detail
