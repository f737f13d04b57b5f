// Collects a prompt's ids word by word into a frame of fixed length.
#pragma once

#include <glint/core/error.hpp>
#include <glint/text/subword_tokenizers.hpp>

#include <algorithm>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace glint::detail {

constexpr int64_t kMostTokens = 65536;

inline void check_frame(const TokenFrame& frame, int64_t overhead) {
  GLINT_CHECK(frame.max_tokens > overhead && frame.max_tokens <= kMostTokens, InvalidArgument,
              "max_tokens: expected {} to {}, got {}", overhead + 1, kMostTokens, frame.max_tokens);
  for (const auto& [name, id] : {std::pair{"bos", frame.bos}, {"eos", frame.eos}, {"pad", frame.pad}})
    GLINT_CHECK(id >= 0, InvalidArgument, "{}: expected an id of at least 0, got {}", name, id);
}

class FramedIds {
 public:
  FramedIds(const TokenFrame& frame, bool with_bos)
      : frame_(frame), room_(static_cast<size_t>(frame.max_tokens) - 1) {
    if (with_bos) result_.ids.push_back(frame.bos);
  }

  /// Appends as many of the word's ids as fit, and reports the word if any are lost.
  void add(std::span<const int64_t> ids, std::string word) {
    const size_t fits = std::min(ids.size(), room_ - result_.ids.size());
    result_.ids.insert(result_.ids.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(fits));
    if (fits < ids.size()) result_.dropped.push_back(std::move(word));
  }

  void unknown(const std::string& word) {
    if (listed_.insert(word).second) result_.unknown.push_back(word);
  }

  TokenizedPrompt finish() && {
    result_.ids.push_back(frame_.eos);
    result_.used = static_cast<int64_t>(result_.ids.size());
    result_.ids.resize(static_cast<size_t>(frame_.max_tokens), frame_.pad);
    return std::move(result_);
  }

 private:
  const TokenFrame& frame_;
  size_t room_;
  TokenizedPrompt result_;
  std::set<std::string> listed_;  // the unknown words so far
};

}  // namespace glint::detail
