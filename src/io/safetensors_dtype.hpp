// The dtypes of safetensors files, shared by reader and writer.
#pragma once

#include <glint/core/tensor.hpp>

#include <array>
#include <optional>
#include <string_view>
#include <utility>

namespace glint::detail {

inline constexpr std::array<std::pair<std::string_view, at::ScalarType>, 12> kSafetensorsDtypes{
    {{"F64", at::ScalarType::Double},
     {"F32", at::ScalarType::Float},
     {"F16", at::ScalarType::Half},
     {"BF16", at::ScalarType::BFloat16},
     {"F8_E4M3", at::ScalarType::Float8_e4m3fn},
     {"F8_E5M2", at::ScalarType::Float8_e5m2},
     {"I64", at::ScalarType::Long},
     {"I32", at::ScalarType::Int},
     {"I16", at::ScalarType::Short},
     {"I8", at::ScalarType::Char},
     {"U8", at::ScalarType::Byte},
     {"BOOL", at::ScalarType::Bool}}};

inline std::optional<at::ScalarType> dtype_from_safetensors(std::string_view name) {
  for (const auto& [known, dtype] : kSafetensorsDtypes)
    if (known == name) return dtype;
  return std::nullopt;
}

inline std::optional<std::string_view> dtype_to_safetensors(at::ScalarType dtype) {
  for (const auto& [name, known] : kSafetensorsDtypes)
    if (known == dtype) return name;
  return std::nullopt;
}

}  // namespace glint::detail
