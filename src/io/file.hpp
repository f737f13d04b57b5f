// File access: memory-mapped reads and atomic writes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace glint::detail {

/// A private memory mapping of a file: writing to it does not change the file.
class MappedFile {
 public:
  /// Errors:  NotFound if there is no such file; InvalidArgument if it is not a regular file or cannot be
  ///          read.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// Writes the concatenated pieces to a temporary file beside `path`, then renames it to `path`.
/// Errors:  NotFound if the folder does not exist; InvalidArgument if the file cannot be written.
void write_file(const std::filesystem::path& path, std::span<const std::string_view> pieces);

}  // namespace glint::detail
