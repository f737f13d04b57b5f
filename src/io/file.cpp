#include "io/file.hpp"

#include <glint/core/error.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <system_error>

namespace glint::detail {
namespace {

std::string reason(int error) { return std::generic_category().message(error); }

/// Closes a file descriptor on destruction.
struct Descriptor {
  int value = -1;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

[[noreturn]] void cannot(const char* action, const std::filesystem::path& path, int error) {
  const auto code = error == ENOENT ? ErrorCode::NotFound : ErrorCode::InvalidArgument;
  fail(code, "{}: cannot {}: {}", path.string(), action, reason(error));
}

void write_all(int descriptor, std::string_view bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) cannot("write", path, errno);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.value < 0) cannot("open", path, errno);
  struct stat status {};
  if (::fstat(file.value, &status) != 0) cannot("read", path, errno);
  GLINT_CHECK(S_ISREG(status.st_mode), InvalidArgument, "{}: expected a regular file", path.string());
  size_ = static_cast<size_t>(status.st_size);
  if (size_ == 0) return;
  void* data = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.value, 0);
  if (data == MAP_FAILED) cannot("map", path, errno);
  data_ = static_cast<std::byte*>(data);
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(data_, size_);
}

namespace {

/// Writes directly into pipes and devices, which must not be replaced by a file.
void write_into(const std::filesystem::path& path, std::span<const std::string_view> pieces) {
  Descriptor file{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
  if (file.value < 0) cannot("write", path, errno);
  for (const auto piece : pieces) write_all(file.value, piece, path);
}

}  // namespace

void write_file(const std::filesystem::path& given, std::span<const std::string_view> pieces) {
  // Named after process and call, so that concurrent writers of one path do not collide; the last rename
  // wins.
  static std::atomic<unsigned> calls{0};
  std::error_code ignored;
  if (std::filesystem::is_directory(given, ignored)) cannot("write", given, EISDIR);
  // Replace the file a link points to, not the link.
  const auto path =
      std::filesystem::is_symlink(given, ignored) ? std::filesystem::weakly_canonical(given) : given;
  if (std::filesystem::exists(path, ignored) && !std::filesystem::is_regular_file(path, ignored))
    return write_into(path, pieces);
  auto temporary = path;
  temporary += "." + std::to_string(::getpid()) + "-" + std::to_string(calls++) + ".tmp";
  Descriptor file{::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)};
  if (file.value < 0) cannot("write", path, errno);
  try {
    for (const auto piece : pieces) write_all(file.value, piece, path);
    // Delayed write errors (a full network disk) surface on close.
    const int closed = ::close(file.value);
    file.value = -1;
    if (closed != 0) cannot("write", path, errno);
    if (::rename(temporary.c_str(), path.c_str()) != 0) cannot("write", path, errno);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

}  // namespace glint::detail
