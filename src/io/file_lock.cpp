#include "io/file_lock.hpp"

#include <glint/core/error.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>

namespace glint::detail {

namespace fs = std::filesystem;

namespace {

/// Returns 0, or the error. Tries for a while, since alone() and is_locked() of other processes hold a lock
/// for a moment.
int lock(int descriptor, int operation) {
  constexpr int kTries = 20;
  int error = EWOULDBLOCK;
  for (int i = 0; i < kTries && (error == EWOULDBLOCK || error == EINTR); ++i) {
    if (::flock(descriptor, operation | LOCK_NB) == 0) return 0;
    error = errno;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return error;
}

}  // namespace

FileLock::FileLock(const fs::path& path, const std::string& busy, LockMode mode)
    : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  GLINT_CHECK(descriptor_ >= 0, InvalidArgument, "{}: cannot be opened: {}", path.string(),
              std::generic_category().message(errno));
  const int error = lock(descriptor_, mode == LockMode::Exclusive ? LOCK_EX : LOCK_SH);
  if (error == 0) return;
  ::close(descriptor_);
  GLINT_CHECK(error == EWOULDBLOCK, Io, "{}: cannot be locked: {}", path.string(),
              std::generic_category().message(error));
  fail(ErrorCode::InvalidArgument, "{}", busy);
}

FileLock::~FileLock() { ::close(descriptor_); }

bool FileLock::alone(const std::function<void()>& work) {
  const bool alone = ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0;
  if (alone && work) work();
  // A failed conversion loses the lock.
  const int error = lock(descriptor_, LOCK_SH);
  GLINT_CHECK(error == 0, Io, "{}: its lock was lost: {}", path_.string(),
              std::generic_category().message(error));
  return alone;
}

bool is_locked(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  const bool locked = ::flock(descriptor, LOCK_SH | LOCK_NB) != 0;
  ::close(descriptor);
  return locked;
}

void make_folder(const fs::path& folder) {
  GLINT_CHECK(!folder.empty(), InvalidArgument, "folder: expected one, got none");
  std::error_code error;
  fs::create_directories(folder, error);
  std::error_code ignored;
  GLINT_CHECK(!error && fs::is_directory(folder, ignored), InvalidArgument, "folder: {} cannot be made: {}",
              folder.string(), error ? error.message() : "it is a file");
  GLINT_CHECK(::access(folder.c_str(), W_OK | X_OK) == 0, InvalidArgument, "folder: {} cannot be written",
              folder.string());
}

}  // namespace glint::detail
