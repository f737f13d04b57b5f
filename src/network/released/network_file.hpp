// Access by name to the tensors and settings of one network's file.
#pragma once

#include <glint/io/safetensors.hpp>

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace glint::released {

/// Provides tensors on the network's device and in its dtype. Collects all faults, so that one message names
/// them all.
class NetworkFile {
 public:
  NetworkFile(TensorMap tensors, Metadata settings, std::string file, at::Device device, at::ScalarType dtype)
      : tensors_(std::move(tensors)),
        settings_(std::move(settings)),
        file_(std::move(file)),
        device_(device),
        dtype_(dtype) {}

  const std::string& file() const { return file_; }
  at::Device device() const { return device_; }
  at::ScalarType dtype() const { return dtype_; }

  bool has(const std::string& name) const { return tensors_.contains(name); }

  /// Returns the shape of a tensor that determines other sizes.
  /// Errors: BadModel unless it exists with that rank.
  std::vector<int64_t> shape(const std::string& name, size_t rank) const;

  /// Returns the tensor, or an undefined one if it is missing or of another shape, which `finish` reports.
  at::Tensor take(const std::string& name, const std::vector<int64_t>& shape);

  /// Returns a setting.   Errors: BadModel if it is missing, not a positive number, or neither of two values.
  const std::string& setting(const std::string& name);
  int64_t number(const std::string& name);
  bool either(const std::string& name, std::string_view yes, std::string_view no);

  /// Throws BadModel listing the tensors that are missing, of another shape or unused.
  void finish() const;

 private:
  TensorMap tensors_;
  Metadata settings_;
  std::string file_;
  at::Device device_;
  at::ScalarType dtype_;
  std::set<std::string, std::less<>> taken_, read_;
  std::vector<std::string> missing_, misshapen_;
};

}  // namespace glint::released
