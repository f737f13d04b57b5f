// Safetensors from bytes in memory, for callers that verify the bytes first.
#pragma once

#include "io/file.hpp"

#include <glint/io/safetensors.hpp>

#include <memory>
#include <string>
#include <vector>

namespace glint::detail {

/// As read_safetensors, for a file's content, which the tensors share. Error messages start with `file`.
/// Tensors of a dtype that torch lacks are left out if `unknown` is given, which gets their names.
TensorMap parse_safetensors(const std::shared_ptr<const FileBytes>& content, const std::string& file,
                            Metadata* metadata = nullptr, std::vector<std::string>* unknown = nullptr);

}  // namespace glint::detail
