// A lock on a folder or file that ends with its process, however that ends.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

namespace glint::detail {

enum class LockMode { Exclusive, Shared };

/// Holds a lock while alive: one process an exclusive one, or any number shared ones.
class FileLock {
 public:
  /// Locks an existing folder or file. `busy` is the message if another process holds the lock.
  /// Errors:  InvalidArgument if the file cannot be opened, and if it is locked; Io where files cannot be.
  FileLock(const std::filesystem::path& path, const std::string& busy, LockMode mode = LockMode::Exclusive);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  /// Whether no other process holds a lock. If so, runs `work` while none can get one. Leaves a shared lock.
  bool alone(const std::function<void()>& work = {});

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

/// Whether some process holds a FileLock on `path`; false if there is no such file.
bool is_locked(const std::filesystem::path& path);

/// Creates the folder unless it exists, with its parents.
/// Errors:  InvalidArgument, naming it, if it cannot be made or written.
void make_folder(const std::filesystem::path& folder);

}  // namespace glint::detail
