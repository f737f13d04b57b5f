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

/// Returns all tensors of a file. The file is read once, as a whole, into memory that the tensors share and
/// keep alive; changing the file later changes none of them.
/// Dtype:   F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL.
/// Cost:    linear in the size of the file; headers of up to 100 MB.
/// Errors:  NotFound if there is no such file; BadModel, naming file and tensor, if it is malformed; Io if it
///          cannot be read.
/// Source:  the safetensors format, github.com/huggingface/safetensors. As there, data may not have gaps, and
///          metadata may be null. Deviation: names that appear twice are refused.
GLINT_API TensorMap read_safetensors(const std::filesystem::path& path, Metadata* metadata = nullptr);

/// Writes `tensors` to a file atomically, by way of a temporary file beside it.
/// Dtype:   as for reading.
/// Errors:  as check_writable; InvalidArgument if a name is not UTF-8; UnsupportedDtype, naming the tensor;
///          Io if writing fails.
GLINT_API void write_safetensors(const std::filesystem::path& path, const TensorMap& tensors,
                                 const Metadata& metadata = {});

}  // namespace glint
