// PyTorch archives (zip files of records), and files for engines that only open paths.
#pragma once

#include "network/loaders.hpp"

#include <caffe2/serialize/inline_container.h>
#include <caffe2/serialize/read_adapter_interface.h>

#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace glint::detail {

/// Lets torch read an archive from a file. What fails is thrown by rethrow, not by read, since torch's reader
/// of zip files is written in C.
class ArchiveReader final : public caffe2::serialize::ReadAdapterInterface {
 public:
  explicit ArchiveReader(ModelFile file) : file_(std::move(file)) {}
  size_t size() const override { return file_->size(); }
  size_t read(uint64_t position, void* buffer, size_t count, const char* what) const override;

  /// Throws the first failure of a read, if any.
  void rethrow() const;

 private:
  ModelFile file_;
  mutable std::mutex mutex_;
  mutable std::exception_ptr failure_;
};

/// Returns what `load` makes of a reader of the file. If a read failed, that is the error.
template <typename Load>
auto with_archive(const ModelFile& file, Load&& load) {
  const auto reader = std::make_shared<ArchiveReader>(file);
  try {
    return load(reader);
  } catch (...) {
    reader->rethrow();
    throw;
  }
}

/// An unnamed file, which disappears with this object or the process.
class UnnamedFile {
 public:
  /// Errors:  Io.
  UnnamedFile();
  ~UnnamedFile();
  UnnamedFile(const UnnamedFile&) = delete;
  UnnamedFile& operator=(const UnnamedFile&) = delete;

  /// Returns a path that opens the file while this object lives.
  std::string path() const;

  /// Appends bytes and returns their number.   Errors: Io.
  size_t append(const void* data, size_t size) const;

  /// Appends a file's content.   Errors: Io.
  void append(const HashedFile& file) const;

 private:
  int descriptor_ = -1;
};

/// A stored tensor as its metadata describes it, in elements of `element_size` bytes.
struct Extent {
  std::vector<int64_t> sizes, strides;
  int64_t offset = 0;
  uint64_t element_size = 1;
};

/// Throws unless all elements of a tensor lie within `bytes` bytes.
/// Errors:  BadModel, starting with `where`.
void check_extent(const std::string& where, const Extent& extent, uint64_t bytes);

/// Returns a record's text.   Errors: c10::Error if there is none.
std::string text_record(caffe2::serialize::PyTorchStreamReader& archive, const std::string& name);

}  // namespace glint::detail
