// Reads and writes .safetensors files.
#pragma once

#include <glint/core/tensor.hpp>
#include <glint/export.hpp>

#include <filesystem>
#include <map>
#include <string>

namespace glint {

using TensorMap = std::map<std::string, at::Tensor>;
using Metadata = std::map<std::string, std::string>;

/// Returns all tensors of a file. Data is memory-mapped: a tensor aligned in the file shares the mapping and
/// keeps it alive; writing to it changes memory only. Replace such a file, never modify it in place.
/// Dtype:   F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL.
/// Errors:  NotFound if there is no such file; BadModel, naming file and tensor, if it is malformed.
/// Source:  the safetensors format, github.com/huggingface/safetensors. As there, data may not have gaps.
GLINT_API TensorMap read_safetensors(const std::filesystem::path& path, Metadata* metadata = nullptr);

/// Writes `tensors` to a file atomically, by way of a temporary file beside it.
/// Dtype:   as for reading.
/// Errors:  InvalidArgument if the file cannot be written or a name is not UTF-8; NotFound if its folder does
///          not exist; UnsupportedDtype, naming the tensor.
GLINT_API void write_safetensors(const std::filesystem::path& path, const TensorMap& tensors,
                                 const Metadata& metadata = {});

}  // namespace glint
