// PyTorch archives (zip files of records) in memory, and files for engines that only open paths.
#pragma once

#include "network/loaders.hpp"

#include <caffe2/serialize/inline_container.h>
#include <caffe2/serialize/read_adapter_interface.h>

#include <cstdint>
#include <string>
#include <vector>

namespace glint::detail {

/// Lets torch read an archive from memory.
class MemoryReader final : public caffe2::serialize::ReadAdapterInterface {
 public:
  explicit MemoryReader(std::shared_ptr<const FileBytes> content) : content_(std::move(content)) {}
  size_t size() const override { return content_->text().size(); }
  size_t read(uint64_t position, void* buffer, size_t count, const char* what) const override;

 private:
  std::shared_ptr<const FileBytes> content_;
};

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
