// File access: whole reads into memory of our own, and atomic writes.
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

/// A regular file, opened once: what later takes its name changes nothing.
/// Thread:  all functions may be called concurrently.
class InputFile {
 public:
  /// Errors:  NotFound if there is no such file; InvalidArgument if it is not a regular file; Io if it cannot
  ///          be opened.
  explicit InputFile(const std::filesystem::path& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& name() const { return name_; }  ///< for messages
  size_t size() const { return size_; }              ///< in bytes, when it was opened

  /// Reads up to `count` bytes from `position` on, fewer only where the file ends, and returns their number.
  /// Errors:  Io.
  size_t read(uint64_t position, std::byte* buffer, size_t count) const;

 private:
  std::string name_;
  int descriptor_;
  size_t size_ = 0;
};

class HashedFile;

/// A file's content, read once: what happens to the file later changes nothing. Not a memory mapping, which
/// would follow every change of the file, and end the process where the file is cut.
class FileBytes {
 public:
  /// Errors:  NotFound if there is no such file; InvalidArgument if it is not a regular file; Io if it cannot
  ///          be read, or its size changes meanwhile.
  explicit FileBytes(const std::filesystem::path& path);
  /// Reads the bytes that were hashed.   Errors: as HashedFile::read, OutOfMemory.
  explicit FileBytes(const HashedFile& file);
  FileBytes(const FileBytes&) = delete;
  FileBytes& operator=(const FileBytes&) = delete;

  std::span<std::byte> bytes() const { return {data_.get(), size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_.get()), size_}; }

 private:
  struct Free {
    void operator()(std::byte* data) const;
  };
  void allocate(const std::string& name, size_t size);

  std::unique_ptr<std::byte[], Free> data_;  // aligned for any tensor
  size_t size_ = 0;
};

/// Writes the concatenated pieces to `path`. A regular file is replaced by one written beside it, so that it
/// always holds the old content or the new one, also after a power failure; its mode, owner and the symbolic
/// links to it stay. A file with several hard links is overwritten in place. Pipes, devices and descriptors
/// of this process (/dev/stdout) are written to; a reader that is gone is an error and no signal.
/// Errors:  as check_writable; Io if writing fails.
void write_file(const std::filesystem::path& path, std::span<const std::string_view> pieces);

/// Whether a file name is that of an unfinished file of write_file, left by a process that was killed.
bool is_unfinished(std::string_view name);

}  // namespace glint::detail
