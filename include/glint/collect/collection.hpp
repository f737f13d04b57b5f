// Requests and results for collecting training data from a model's own runs.
#pragma once

#include <glint/core/enum_names.hpp>
#include <glint/pipeline/request.hpp>
#include <glint/pipeline/share.hpp>

#include <filesystem>
#include <functional>
#include <set>

namespace glint {

/// Dtype of a collection's latents and predictions. Noises and scores are stored exactly.
enum class StoredType { Float16, Float32 };
template <>
struct EnumNames<StoredType> {
  static constexpr std::array<std::string_view, 2> values{"float16", "float32"};
};

/// Progress of a collection, or of this process's share of one.
struct CollectProgress {
  int64_t done;   ///< items, including those of earlier runs
  int64_t total;  ///< items when it is complete
  int64_t kept;   ///< items kept, of those done
};

/// What to collect. Item i uses noise i % count for prompt i / count, drawn with seed + i.
struct CollectRequest {
  std::filesystem::path folder = {};  ///< created if missing; a collection of the same request is resumed
  /// Prompts, sizes, steps, CFG scale, solver, schedule; `count` noises per prompt, `batch` items sampled at
  /// once. Methods, adapters, noise and conditionings are not supported.
  GenerateRequest generate = {};
  int64_t shard = 64;  ///< items per file; kept in memory until written, so lost if the run is killed
  StoredType stored = StoredType::Float16;
  /// Several processes take turns at the shards; the first lists them when all are there.
  Share share = {};
  std::function<void(const CollectProgress&)> progress = nullptr;  ///< called after every batch
};

/// What a call did. The folder holds collection.json, prompts.json and the shards.
struct CollectResult {
  int64_t items = 0, kept = 0;  ///< in the whole collection; of a share that is not the first, in the share
  int64_t shards = 0;
  int64_t resumed_items = 0;                 ///< of `items`, those that were there before
  Usage usage = {};                          ///< of this call
  std::set<std::string> unknown_words = {};  ///< in the prompts of this call
  std::set<std::string> dropped_words = {};  ///< of them, those beyond the prompts' length
};

}  // namespace glint
