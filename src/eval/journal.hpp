// An evaluation's folder: what it is an evaluation of, and a journal of the units that are done.
#pragma once

#include "eval/units.hpp"
#include "io/file_lock.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace glint::detail {

/// The folder of one evaluation, opened by one of the processes that share it. Every process appends to a
/// journal of its own, one line per unit, and reads all of them. A line counts once it is whole, so a process
/// may be killed at any time.
class Journal {
 public:
  /// Opens or creates the folder. `identity` is everything that the units' contents depend on, except arms.
  /// Errors:  InvalidArgument if the folder cannot be made or written, holds anything but an evaluation of
  ///          the same identity (the message names the first difference), or if another process is using this
  ///          rank's journal; Io if it has less than `room` bytes left, or reading or writing fails; BadModel
  ///          if evaluation.json is malformed.
  Journal(std::filesystem::path folder, const nlohmann::ordered_json& identity, int64_t rank, uintmax_t room);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  const std::filesystem::path& folder() const { return folder_; }

  /// Returns a unit, or null. A measured one also stands for one that need not be.
  const UnitResult* find(const std::string& arm, int64_t first, bool measured) const;

  /// Appends a unit to this rank's journal. Returns after it is on the disk.   Errors: Io.
  void add(const std::string& arm, UnitResult unit);

  /// Reads what other processes have appended.
  void refresh();

  /// Whether a process is running with this rank.
  bool is_running(int64_t rank) const;

 private:
  void check_folder(const nlohmann::ordered_json& identity, uintmax_t room);
  void read(const std::filesystem::path& path, bool own);
  std::filesystem::path path_of(int64_t rank) const;

  std::filesystem::path folder_;
  int64_t rank_;
  std::optional<FileLock> lock_;
  int file_ = -1;
  std::map<std::string, uintmax_t> read_;  // by journal: bytes read so far
  std::map<std::string, std::map<int64_t, UnitResult>> units_;
};

}  // namespace glint::detail
