#include "network/archive.hpp"

#include <glint/core/error.hpp>
#include <glint/core/tensor.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace glint::detail {

size_t ArchiveReader::read(uint64_t position, void* buffer, size_t count, const char*) const {
  try {
    return file_->read(position, static_cast<std::byte*>(buffer), count);
  } catch (...) {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::current_exception();
    return 0;
  }
}

void ArchiveReader::rethrow() const {
  const std::lock_guard lock(mutex_);
  if (failure_) std::rethrow_exception(failure_);
}

UnnamedFile::UnnamedFile() {
  std::string name = (std::filesystem::temp_directory_path() / "glint-XXXXXX").string();
  descriptor_ = ::mkostemp(name.data(), O_CLOEXEC);
  GLINT_CHECK(descriptor_ >= 0, Io, "{}: cannot be made: {} (TMPDIR says where it goes)", name,
              std::strerror(errno));
  ::unlink(name.c_str());
}

UnnamedFile::~UnnamedFile() { ::close(descriptor_); }

std::string UnnamedFile::path() const { return fmt::format("/proc/self/fd/{}", descriptor_); }

size_t UnnamedFile::append(const void* data, size_t size) const {
  for (size_t done = 0; done < size;) {
    const ssize_t written = ::write(descriptor_, static_cast<const char*>(data) + done, size - done);
    if (written < 0 && errno == EINTR) continue;
    GLINT_CHECK(written >= 0, Io, "temporary copy of a network: {} (TMPDIR says where it goes)",
                std::strerror(errno));
    done += static_cast<size_t>(written);
  }
  return size;
}

void UnnamedFile::append(const HashedFile& file) const {
  std::vector<std::byte> piece(size_t{1} << 22);
  for (uint64_t at = 0; const size_t got = file.read(at, piece.data(), piece.size()); at += got)
    append(piece.data(), got);
}

void check_extent(const std::string& where, const Extent& extent, uint64_t bytes) {
  const auto outside = [&] {
    fail(ErrorCode::BadModel,
         "{}: sizes {}, strides {} and offset {} of {} bytes an element do not fit its {} bytes", where,
         shape_string(extent.sizes), shape_string(extent.strides), extent.offset, extent.element_size, bytes);
  };
  if (extent.sizes.size() != extent.strides.size() || extent.offset < 0) outside();
  bool empty = false;
  uint64_t last = static_cast<uint64_t>(extent.offset);  // index of the last element
  for (size_t d = 0; d < extent.sizes.size(); ++d) {
    const int64_t size = extent.sizes[d], stride = extent.strides[d];
    if (size < 0 || stride < 0) outside();
    empty = empty || size == 0;
    uint64_t reach = 0;
    if (size > 1 &&
        (__builtin_mul_overflow(static_cast<uint64_t>(size - 1), static_cast<uint64_t>(stride), &reach) ||
         __builtin_add_overflow(last, reach, &last)))
      outside();
  }
  uint64_t end = 0;
  if (!empty && (__builtin_add_overflow(last, uint64_t{1}, &end) ||
                 __builtin_mul_overflow(end, extent.element_size, &end) || end > bytes))
    outside();
}

std::string text_record(caffe2::serialize::PyTorchStreamReader& archive, const std::string& name) {
  const auto [data, size] = archive.getRecord(name);
  return {static_cast<const char*>(data.get()), size};
}

}  // namespace glint::detail
