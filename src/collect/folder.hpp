// A collection's folder: shard files and the manifest that lists them.
#pragma once

#include "io/file_lock.hpp"

#include <glint/io/safetensors.hpp>

#include <nlohmann/json.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace glint::detail {

/// The folder of one collection, opened for writing. Files are written atomically, each shard before the
/// manifest that lists it, so a killed run can be resumed.
class CollectionFolder {
 public:
  /// Opens or creates the folder. `identity` is everything the files' contents depend on, except prompts.
  /// Errors:  InvalidArgument if it cannot be created or written, another process is collecting into it, or
  ///          it holds anything but a collection of the same identity and prompts (the message names the
  ///          first difference); BadModel if its manifest is malformed.
  CollectionFolder(std::filesystem::path folder, nlohmann::ordered_json identity,
                   const std::vector<std::string>& prompts);

  /// Returns the number of leading shards that are intact.
  int64_t shards() const { return static_cast<int64_t>(manifest_["shards"].size()); }
  int64_t items() const { return sum("items"); }
  int64_t kept() const { return sum("kept"); }

  /// Writes the next shard and adds it to the manifest.
  void add(const TensorMap& tensors, int64_t items, int64_t kept, bool last);

 private:
  void check_empty(const nlohmann::ordered_json& prompts) const;
  void adopt(const nlohmann::ordered_json& found, const nlohmann::ordered_json& identity);
  void remove_leftovers() const;
  void save() const;
  int64_t sum(const char* count) const;

  std::filesystem::path folder_;
  std::optional<FileLock> lock_;
  nlohmann::ordered_json manifest_;
};

}  // namespace glint::detail
