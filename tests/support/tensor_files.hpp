// Reads the safetensors files of the test data: the library's reader, or in the light core, which reads no
// files, a plain one for well-formed ones.
#pragma once

#ifndef GLINT_CORE_ONLY

#include <glint/io/safetensors.hpp>

#else

#include <glint/core/error.hpp>
#include <glint/core/tensor.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

namespace glint {

using TensorMap = std::map<std::string, Tensor>;

inline TensorMap read_safetensors(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  const auto header = nlohmann::json::parse(bytes.substr(sizeof length, length));
  TensorMap tensors;
  for (const auto& [name, about] : header.items()) {
    if (name == "__metadata__") continue;
    const std::string type = about["dtype"];
    const char* data = bytes.data() + sizeof length + length + about["data_offsets"][0].get<size_t>();
    const auto sizes = about["shape"].get<std::vector<int64_t>>();
    const Tensor made = host::empty(sizes, type == "F32" ? host::kFloat : host::kDouble);
    const auto count = static_cast<size_t>(made.numel());
    if (type == "F32")
      std::memcpy(made.data_ptr<float>(), data, count * sizeof(float));
    else if (type == "F64")
      std::memcpy(made.data_ptr<double>(), data, count * sizeof(double));
    else
      fail(ErrorCode::UnsupportedDtype, "{}: {} is not read here", name, type);
    tensors[name] = made;
  }
  return tensors;
}

}  // namespace glint

#endif
