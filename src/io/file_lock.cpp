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

FileLock::FileLock(const fs::path& path, const std::string& busy)
    : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  GLINT_CHECK(descriptor_ >= 0, InvalidArgument, "{}: cannot be opened: {}", path.string(),
              std::generic_category().message(errno));
  // is_locked() of another process holds the lock for a moment.
  constexpr int kTries = 20;
  int error = EWOULDBLOCK;
  for (int i = 0; i < kTries && (error == EWOULDBLOCK || error == EINTR); ++i) {
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
    error = errno;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ::close(descriptor_);
  GLINT_CHECK(error == EWOULDBLOCK, Io, "{}: cannot be locked: {}", path.string(),
              std::generic_category().message(error));
  fail(ErrorCode::InvalidArgument, "{}", busy);
}

FileLock::~FileLock() { ::close(descriptor_); }

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
