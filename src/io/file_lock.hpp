// A lock on a folder or file that ends with its process, however that ends.
#pragma once

#include <filesystem>
#include <string>

namespace glint::detail {

/// Holds an exclusive lock while alive.
class FileLock {
 public:
  /// Locks an existing folder or file. `busy` is the message if another process holds the lock.
  /// Errors:  InvalidArgument if the file cannot be opened, and if it is locked; Io where files cannot be.
  FileLock(const std::filesystem::path& path, const std::string& busy);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int descriptor_ = -1;
};

/// Whether some process holds a FileLock on `path`; false if there is no such file.
bool is_locked(const std::filesystem::path& path);

/// Creates the folder unless it exists, with its parents.
/// Errors:  InvalidArgument, naming it, if it cannot be made or written.
void make_folder(const std::filesystem::path& folder);

}  // namespace glint::detail
