// A collection's folder: shard files, and the manifest that says what they are.
#pragma once

#include <glint/io/safetensors.hpp>

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace glint::detail {

/// The folder of one collection, opened for writing. Every file is written whole or not at all, a shard
/// before the manifest that lists it, so what a killed run leaves behind can be gone on with.
class CollectionFolder {
 public:
  /// Opens the folder, or makes it. `identity` is everything the files' content depends on, prompts excepted.
  /// Errors:  InvalidArgument if it cannot be made or written, another process collects into it, or it holds
  ///          anything but a collection of the same identity and prompts (the message names the first
  ///          difference); BadModel if its manifest is malformed.
  CollectionFolder(std::filesystem::path folder, nlohmann::ordered_json identity,
                   const std::vector<std::string>& prompts);
  ~CollectionFolder();
  CollectionFolder(const CollectionFolder&) = delete;
  CollectionFolder& operator=(const CollectionFolder&) = delete;

  /// Returns what is already there: shards whose files are intact, up to the first that is not.
  int64_t shards() const { return static_cast<int64_t>(manifest_["shards"].size()); }
  int64_t items() const { return sum("items"); }
  int64_t kept() const { return sum("kept"); }

  /// Writes the next shard and lists it.
  void add(const TensorMap& tensors, int64_t items, int64_t kept, bool last);

 private:
  void check_empty(const nlohmann::ordered_json& prompts) const;
  void adopt(const nlohmann::ordered_json& found, const nlohmann::ordered_json& identity);
  void remove_leftovers() const;
  void save() const;
  int64_t sum(const char* count) const;

  std::filesystem::path folder_;
  int lock_ = -1;
  nlohmann::ordered_json manifest_;
};

}  // namespace glint::detail
