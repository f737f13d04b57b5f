// A collection's folder: shard files and the manifest that lists them.
#pragma once

#include <glint/io/safetensors.hpp>

#include <nlohmann/json.hpp>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace glint::detail {

/// The folder of one collection, opened for writing. Files are written atomically, each shard before the
/// manifest that lists it, so a killed run can be resumed. What the manifest says is compared with the shards
/// and corrected; if it is lost, it is made anew from them.
class CollectionFolder {
 public:
  /// Opens or creates the folder. `identity` is everything the files' contents depend on, except prompts.
  /// Errors:  InvalidArgument if it cannot be created or written, another process is collecting into it, or
  ///          it holds anything but a collection of the same identity and prompts (the message names the
  ///          first difference), or a pipe or device where a file belongs; BadModel if its manifest is
  ///          malformed and no shard tells what it was.
  /// `warn` is told what was corrected.
  CollectionFolder(std::filesystem::path folder, nlohmann::ordered_json identity,
                   const std::vector<std::string>& prompts,
                   std::function<void(const std::string&)> warn = {});
  ~CollectionFolder();
  CollectionFolder(const CollectionFolder&) = delete;
  CollectionFolder& operator=(const CollectionFolder&) = delete;

  /// Returns the number of leading shards that are intact.
  int64_t shards() const { return static_cast<int64_t>(manifest_["shards"].size()); }
  int64_t items() const { return sum("items"); }
  int64_t kept() const { return sum("kept"); }

  /// Writes the next shard and adds it to the manifest.
  void add(const TensorMap& tensors, int64_t items, int64_t kept, bool last);

 private:
  void open(const nlohmann::ordered_json& prompts, const nlohmann::ordered_json& identity);
  void check_names(const nlohmann::ordered_json& prompts, bool shards) const;
  void adopt(const nlohmann::ordered_json& found, const nlohmann::ordered_json& identity);
  bool rebuild();
  bool add_found(const std::string& name, const nlohmann::ordered_json* listed);
  void remove_leftovers() const;
  void save() const;
  int64_t sum(const char* count) const;

  std::filesystem::path folder_;
  std::function<void(const std::string&)> warn_;
  int lock_ = -1;
  int64_t total_ = 0;        // items when it is complete
  int64_t shard_items_ = 1;  // of a full shard
  std::string id_;           // what the shards belong to: a hash of the identity
  nlohmann::ordered_json manifest_;
};

}  // namespace glint::detail
