#include "io/file.hpp"

#include "io/hashed_file.hpp"

#include <glint/core/error.hpp>
#include <glint/io/output_file.hpp>

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <new>
#include <random>
#include <system_error>
#include <utility>

namespace glint {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kUnfinishedPrefix = ".glint-", kUnfinishedSuffix = ".tmp";
constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
constexpr size_t kRandomLetters = 16;

std::string reason(int error) { return std::generic_category().message(error); }

/// Closes a file descriptor on destruction.
struct Descriptor {
  int value = -1;
  explicit Descriptor(int descriptor) : value(descriptor) {}
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
};

/// What a path is to blame for is an argument's fault; what a disk is to blame for is not.
ErrorCode code_of(int error) {
  switch (error) {
    case ENOENT: return ErrorCode::NotFound;
    case ENOTDIR:
    case EACCES:
    case EPERM:
    case EROFS:
    case EISDIR:
    case ELOOP:
    case EBADF:
    case ETXTBSY:
    case ENAMETOOLONG: return ErrorCode::InvalidArgument;
    default: return ErrorCode::Io;
  }
}

[[noreturn]] void cannot_write(const fs::path& path, int error) {
  fail(code_of(error), "{}: cannot be written: {}", path.string(), reason(error));
}

/// While alive, writing to a pipe without a reader is an error of this thread and not a signal to the
/// process.
class WithoutPipeSignal {
 public:
  WithoutPipeSignal() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    sigemptyset(&pending);
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    blocked_ = pthread_sigmask(SIG_BLOCK, &pipe_, &before_) == 0;
  }
  ~WithoutPipeSignal() {
    if (!blocked_) return;
    const timespec now{};
    while (!was_pending_ && sigtimedwait(&pipe_, nullptr, &now) < 0 && errno == EINTR) continue;
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  WithoutPipeSignal(const WithoutPipeSignal&) = delete;
  WithoutPipeSignal& operator=(const WithoutPipeSignal&) = delete;

 private:
  sigset_t pipe_{}, before_{};
  bool was_pending_ = false, blocked_ = false;
};

void write_all(int descriptor, std::span<const std::string_view> pieces, const fs::path& path) {
  for (std::string_view bytes : pieces) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) cannot_write(path, errno);
      bytes.remove_prefix(static_cast<size_t>(written));
    }
  }
}

/// Flushes a file or folder to its disk. Some file systems have nothing to flush, which they say by EINVAL.
void flush(int descriptor, const fs::path& path) {
  if (::fsync(descriptor) != 0 && errno != EINVAL && errno != ENOTSUP && errno != EROFS)
    cannot_write(path, errno);
}

std::string random_letters() {
  std::random_device random;
  std::string letters;
  for (size_t i = 0; i < kRandomLetters; ++i) letters += kLetters[random() % kLetters.size()];
  return letters;
}

/// A new file beside the one to be replaced, removed unless it takes that one's place.
class Unfinished {
 public:
  explicit Unfinished(const fs::path& path) : path_(path), descriptor_(-1) {
    constexpr int kTries = 16;
    for (int i = 0; i < kTries && descriptor_.value < 0; ++i) {
      name_ = path.parent_path() /
              (std::string(kUnfinishedPrefix) + random_letters() + std::string(kUnfinishedSuffix));
      descriptor_.value = ::open(name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (descriptor_.value < 0 && errno != EEXIST) cannot_write(path_, errno);
    }
    if (descriptor_.value < 0) cannot_write(path_, EEXIST);
  }
  ~Unfinished() {
    if (!name_.empty()) ::unlink(name_.c_str());
  }
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;

  int descriptor() const { return descriptor_.value; }

  /// Takes over mode and owner. Where the owner may not be given, set-id bits would give rights to another.
  void resemble(const struct stat& old) const {
    const bool own = ::fchown(descriptor_.value, old.st_uid, old.st_gid) == 0;
    if (::fchmod(descriptor_.value, old.st_mode & (own ? 07777u : 0777u)) != 0) cannot_write(path_, errno);
  }

  /// Flushes and closes; some disks tell of a failed write only then.
  void finish() {
    flush(descriptor_.value, path_);
    const int closed = ::close(descriptor_.value);
    descriptor_.value = -1;
    if (closed != 0) cannot_write(path_, errno);
  }

  void take_place() {
    if (::rename(name_.c_str(), path_.c_str()) != 0) cannot_write(path_, errno);
    name_.clear();
    const Descriptor folder(::open(path_.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (folder.value >= 0) flush(folder.value, path_);
  }

 private:
  fs::path path_, name_;
  Descriptor descriptor_;
};

void replace(const fs::path& path, const struct stat* old, std::span<const std::string_view> pieces) {
  Unfinished file(path);
  if (old) file.resemble(*old);
  write_all(file.descriptor(), pieces, path);
  if (!old || old->st_nlink < 2) {
    file.finish();
    return file.take_place();
  }
  // A rename would part this name from the others. The copy beside it has shown that there is room.
  const Descriptor in_place(::open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  if (in_place.value < 0) cannot_write(path, errno);
  write_all(in_place.value, pieces, path);
  flush(in_place.value, path);
}

/// Returns the descriptor that a name in this process's folder of descriptors stands for, or -1.
int descriptor_named(const fs::path& folder, const std::string& name) {
  const std::string own = "/proc/" + std::to_string(::getpid());
  const std::string text = folder.string();
  const bool ours = text == own + "/fd" || (text.starts_with(own + "/task/") && text.ends_with("/fd"));
  constexpr size_t kLongest = 6;
  if (!ours || name.empty() || name.size() > kLongest ||
      name.find_first_not_of("0123456789") != std::string::npos)
    return -1;
  return std::stoi(name);
}

/// Whether nobody may write a file. The superuser may, but the file says that it is not to be changed.
bool is_read_only(const fs::path& path, const struct stat& status) {
  return (status.st_mode & (S_IWUSR | S_IWGRP | S_IWOTH)) == 0 || ::access(path.c_str(), W_OK) != 0;
}

}  // namespace

OutputTarget output_target(const fs::path& given) {
  constexpr int kMostLinks = 40;  // the kernel's limit
  fs::path path = given;
  for (int links = 0; links <= kMostLinks; ++links) {
    const fs::path parent = path.has_parent_path() ? path.parent_path() : fs::path(".");
    std::error_code error;
    const fs::path folder = fs::canonical(parent, error);
    GLINT_CHECK(!error || error.value() != ENOENT, NotFound, "{}: cannot be written: there is no folder {}",
                given.string(), parent.string());
    if (error) cannot_write(given, error.value());
    if (!path.has_filename()) cannot_write(given, EISDIR);
    const fs::path place = folder / path.filename();
    if (const int descriptor = descriptor_named(folder, path.filename().string()); descriptor >= 0)
      return {.path = place, .descriptor = descriptor, .stream = true};
    const fs::file_status status = fs::symlink_status(place, error);
    if (status.type() == fs::file_type::symlink) {
      const fs::path target = fs::read_symlink(place, error);
      if (error) cannot_write(given, error.value());
      path = target.is_absolute() ? target : folder / target;
      continue;
    }
    if (status.type() == fs::file_type::directory) cannot_write(given, EISDIR);
    if (status.type() == fs::file_type::none) cannot_write(given, error ? error.value() : EIO);
    const bool there = status.type() != fs::file_type::not_found;
    return {.path = place, .stream = there && status.type() != fs::file_type::regular};
  }
  cannot_write(given, ELOOP);
}

void check_writable(const fs::path& given) {
  const OutputTarget target = output_target(given);
  if (target.descriptor >= 0) {
    const int mode = ::fcntl(target.descriptor, F_GETFL);
    if (mode < 0) cannot_write(given, errno);
    if ((mode & O_ACCMODE) == O_RDONLY) cannot_write(given, EBADF);
    return;
  }
  struct stat status {};
  if (::stat(target.path.c_str(), &status) == 0) {
    if (target.stream ? ::access(target.path.c_str(), W_OK) != 0 : is_read_only(target.path, status))
      cannot_write(given, EACCES);
    if (target.stream) return;
  } else if (errno != ENOENT) {
    cannot_write(given, errno);
  }
  if (::access(target.path.parent_path().c_str(), W_OK | X_OK) != 0) cannot_write(given, errno);
}

namespace detail {

void FileBytes::Free::operator()(std::byte* data) const { std::free(data); }

InputFile::InputFile(const fs::path& path) : name_(path.string()) {
  // Opening a pipe would wait for somebody to write to it.
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (file.value < 0 || ::fstat(file.value, &status) != 0) {
    const int error = errno;
    const ErrorCode code = error == ENOENT || error == ENOTDIR ? ErrorCode::NotFound : ErrorCode::Io;
    fail(code, "{}: cannot be read: {}", name_, reason(error));
  }
  GLINT_CHECK(S_ISREG(status.st_mode), InvalidArgument, "{}: expected a regular file", name_);
  size_ = static_cast<size_t>(status.st_size);
  descriptor_ = std::exchange(file.value, -1);
}

InputFile::~InputFile() { ::close(descriptor_); }

size_t InputFile::read(uint64_t position, std::byte* buffer, size_t count) const {
  size_t done = 0;
  while (done < count) {
    constexpr size_t kLargest = size_t{1} << 30;
    const ssize_t got = ::pread(descriptor_, buffer + done, std::min(count - done, kLargest),
                                static_cast<off_t>(position + done));
    if (got < 0 && errno == EINTR) continue;
    GLINT_CHECK(got >= 0, Io, "{}: cannot be read: {}", name_, reason(errno));
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

void FileBytes::allocate(const std::string& name, size_t size) {
  constexpr size_t kAlignment = 64;
  size_ = size;
  data_.reset(static_cast<std::byte*>(std::aligned_alloc(kAlignment, (size_ / kAlignment + 1) * kAlignment)));
  GLINT_CHECK(data_, OutOfMemory, "{}: not enough memory for its {} bytes", name, size_);
}

FileBytes::FileBytes(const fs::path& path) {
  const InputFile file(path);
  allocate(file.name(), file.size());
  const size_t got = file.read(0, data_.get(), size_ + 1);  // one byte more shows a file that grew
  GLINT_CHECK(got <= size_, Io, "{}: grew while it was read", file.name());
  GLINT_CHECK(got == size_, Io, "{}: cut short while it was read: {} of {} bytes", file.name(), got, size_);
}

FileBytes::FileBytes(const HashedFile& file) {
  allocate(file.name(), file.size());
  file.read(0, data_.get(), size_);
}

void write_file(const fs::path& given, std::span<const std::string_view> pieces) {
  check_writable(given);
  const OutputTarget target = output_target(given);
  if (target.stream) {
    const WithoutPipeSignal guard;
    if (target.descriptor >= 0) return write_all(target.descriptor, pieces, given);
    const Descriptor file(::open(target.path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY));
    if (file.value < 0) cannot_write(given, errno);
    return write_all(file.value, pieces, given);
  }
  struct stat old {};
  const bool there = ::stat(target.path.c_str(), &old) == 0;
  replace(target.path, there ? &old : nullptr, pieces);
}

bool is_unfinished(std::string_view name) {
  return name.size() == kUnfinishedPrefix.size() + kRandomLetters + kUnfinishedSuffix.size() &&
         name.starts_with(kUnfinishedPrefix) && name.ends_with(kUnfinishedSuffix) &&
         name.substr(kUnfinishedPrefix.size(), kRandomLetters).find_first_not_of(kLetters) ==
             std::string_view::npos;
}

}  // namespace detail
}  // namespace glint
