// A collection's folder: shard files and the manifest that lists them.
#pragma once

#include "io/file_lock.hpp"

#include <glint/io/safetensors.hpp>
#include <glint/pipeline/share.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace glint::detail {

/// The folder of one collection, opened for writing by one process or by one of several that share it. Files
/// are written atomically, each shard before the manifest that lists it, so a killed run can be resumed. A
/// shard says itself what it belongs to: what the manifest says is compared with the shards and corrected; if
/// it is lost, it is made anew from them.
class CollectionFolder {
 public:
  /// Opens or creates the folder. `identity` is everything the files' contents depend on, except prompts.
  /// Errors:  InvalidArgument if it cannot be created or written, a process of no shares is collecting into
  ///          it, or it holds anything but a collection of the same identity and prompts (the message names
  ///          the first difference), or a pipe or device where a file belongs; BadModel if its manifest is
  ///          malformed and no shard tells what it was.
  /// `warn` is told what was corrected.
  CollectionFolder(std::filesystem::path folder, nlohmann::ordered_json identity,
                   const std::vector<std::string>& prompts, const Share& share,
                   std::function<void(const std::string&)> warn = {});

  /// Returns the first shard of this process's share, from `from` on, that is not there.
  std::optional<int64_t> missing(int64_t from) const;

  /// Returns a shard's first item and the number of its items.
  int64_t first_item(int64_t shard) const { return shard * shard_items_; }
  int64_t size(int64_t shard) const { return std::min(shard_items_, total_ - first_item(shard)); }

  /// Sums over the intact shards that this process knows: of its share, or all.
  struct Counts {
    int64_t items = 0, kept = 0, shards = 0;
  };
  Counts own() const { return counts(share_.rank, share_.ranks); }
  Counts all() const { return counts(0, 1); }

  /// Returns the number of items of this process's share.
  int64_t share_items() const;

  /// Writes a shard. Alone, adds it to the manifest, too.
  void add(int64_t shard, const TensorMap& tensors, int64_t kept);

  /// Of several processes, the first one: waits for the others' shards and lists them all.
  /// Errors:  Cancelled if `keep_going` says so; Internal if shards are missing and for share.patience s no
  ///          other process has been collecting.
  void finish(const std::function<bool()>& keep_going);

 private:
  void open(const nlohmann::ordered_json& prompts, const nlohmann::ordered_json& identity);
  void check_names(const nlohmann::ordered_json& prompts, bool shards) const;
  void adopt(const nlohmann::ordered_json& found, const nlohmann::ordered_json& identity);
  int64_t find_missing(const nlohmann::ordered_json& listed);
  std::optional<nlohmann::ordered_json> found(int64_t shard, const nlohmann::ordered_json* listed);
  void remove_leftovers() const;
  void list();
  void save() const;
  int64_t end() const { return (total_ - 1) / shard_items_ + 1; }  // of the shards
  Counts counts(int64_t rank, int64_t ranks) const;
  bool writes_manifest() const { return share_.rank == 0; }

  std::filesystem::path folder_;
  Share share_;
  std::function<void(const std::string&)> warn_;
  std::optional<FileLock> lock_;
  int64_t total_ = 0;        // items when it is complete
  int64_t shard_items_ = 1;  // of a full shard
  std::string id_;           // what the shards belong to: a hash of the identity
  nlohmann::ordered_json manifest_;
  std::map<int64_t, nlohmann::ordered_json> shards_;            // those that are there, as they are listed
  std::map<int64_t, std::filesystem::file_time_type> refused_;  // when those were written that are not whole
};

}  // namespace glint::detail
