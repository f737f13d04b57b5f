// Training data from a model's own runs: what a collection is asked for, and what it amounts to.
#pragma once

#include <glint/catalog/option_values.hpp>
#include <glint/sampling/request.hpp>

#include <filesystem>
#include <functional>
#include <set>

namespace glint {

/// What the latents and predictions of a collection are stored in. Noises and scores are exact.
enum class StoredType { Float16, Float32 };
template <>
struct EnumNames<StoredType> {
  static constexpr std::array<std::string_view, 2> values{"float16", "float32"};
};

/// How far a collection is.
struct CollectProgress {
  int64_t done;   ///< items, those of an earlier run included
  int64_t total;  ///< items of the whole collection
  int64_t kept;   ///< of those done
};

/// What to collect. Item i is noise i % count of prompt i / count, drawn with seed + i. Everything unset is the model's default.
struct CollectRequest {
  std::filesystem::path folder = {};  ///< made if it is absent; a folder of the same request is gone on with
  std::vector<std::string> prompts = {};
  std::optional<std::string> negative = {};  ///< as GenerateRequest::negative
  std::optional<int> steps = {};
  std::optional<double> guidance = {};  ///< of CFG
  std::optional<Choice> solver = {};
  OptionValues schedule = {};
  std::optional<int64_t> width = {}, height = {}, frames = {};  ///< px, px, frames
  uint64_t seed = 0;
  int64_t count = 1;   ///< noises per prompt
  int64_t batch = 8;   ///< items sampled at once
  int64_t shard = 64;  ///< items per file; what is kept in memory, and lost when a run is killed
  StoredType stored = StoredType::Float16;
  Observer* observer = nullptr;  ///< borrowed; asked before every model call
  std::function<void(const CollectProgress&)> progress = nullptr;  ///< told after every batch
};

/// What a call did. The folder then holds collection.json, prompts.json and the shards.
struct CollectResult {
  int64_t items = 0, kept = 0;  ///< of the whole collection
  int64_t shards = 0;
  int64_t resumed_items = 0;                 ///< of `items`, those an earlier run had collected
  Usage usage = {};                          ///< of this call
  std::set<std::string> unknown_words = {};  ///< of the prompts met in this call
};

}  // namespace glint
