// Training data from a model's own runs: what a collection is asked for, and what it amounts to.
#pragma once

#include <glint/core/enum_names.hpp>
#include <glint/pipeline/request.hpp>

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

/// What to collect. Item i is noise i % count of prompt i / count, drawn with seed + i.
struct CollectRequest {
  std::filesystem::path folder =
      {};  ///< made if it is absent; a collection of the same request there is continued
  /// Prompts, sizes, steps, guidance scale of CFG, solver, schedule; `count` noises per prompt, `batch` items
  /// sampled at once. Methods, adapters, noise and conditionings cannot be collected with.
  GenerateRequest generate = {};
  int64_t shard = 64;  ///< items per file; what is kept in memory, and lost when a run is killed
  StoredType stored = StoredType::Float16;
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
