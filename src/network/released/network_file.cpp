#include "network/released/network_file.hpp"

#include <glint/core/error.hpp>

#include <fmt/format.h>

#include <charconv>

namespace glint::released {
namespace {

constexpr size_t kNamed = 6;  // faults listed by name in a message

/// Formats "missing a, b and 4 more", or "" if there are none.
std::string faults(const char* what, const std::vector<std::string>& names) {
  if (names.empty()) return "";
  const std::vector<std::string> first(names.begin(),
                                       names.begin() + static_cast<long>(std::min(names.size(), kNamed)));
  const std::string more =
      names.size() > kNamed ? fmt::format(" and {} more", names.size() - kNamed) : std::string();
  return fmt::format("; {} {}{}", what, joined_text(first, ", "), more);
}

}  // namespace

std::vector<int64_t> NetworkFile::shape(const std::string& name, size_t rank) const {
  const auto found = tensors_.find(name);
  GLINT_CHECK(found != tensors_.end(), BadModel, "{}: missing tensor {}", file_, name);
  const auto sizes = found->second.sizes();
  GLINT_CHECK(sizes.size() == rank, BadModel, "{}: {}: expected {} dimensions, got {}", file_, name, rank,
              shape_string(sizes));
  return sizes.vec();
}

at::Tensor NetworkFile::take(const std::string& name, const std::vector<int64_t>& shape) {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    missing_.push_back(name);
    return {};
  }
  taken_.insert(name);
  const at::Tensor& tensor = found->second;
  if (tensor.sizes() != at::IntArrayRef(shape) || !tensor.is_floating_point()) {
    misshapen_.push_back(fmt::format("{} {} (expected {})", name, shape_string(tensor.sizes()),
                                     shape_string(at::IntArrayRef(shape))));
    return {};
  }
  return tensor.to(device_, dtype_);
}

const std::string& NetworkFile::setting(const std::string& name) {
  read_.insert(name);
  const auto found = settings_.find(name);
  GLINT_CHECK(found != settings_.end(), BadModel, "{}: missing setting '{}' in its metadata", file_, name);
  return found->second;
}

int64_t NetworkFile::number(const std::string& name) {
  const std::string& text = setting(name);
  const char* end = text.data() + text.size();
  int64_t value = 0;
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  GLINT_CHECK(error == std::errc() && rest == end && value > 0 && value < (1 << 20), BadModel,
              "{}: setting '{}': expected a positive integer, got '{}'", file_, name, text);
  return value;
}

bool NetworkFile::either(const std::string& name, std::string_view yes, std::string_view no) {
  const std::string& text = setting(name);
  GLINT_CHECK(text == yes || text == no, BadModel, "{}: setting '{}': expected {} or {}, got '{}'", file_,
              name, yes, no, text);
  return text == yes;
}

void NetworkFile::finish() const {
  std::vector<std::string> unknown;
  for (const auto& [name, tensor] : tensors_)
    if (!taken_.contains(name)) unknown.push_back(name);
  for (const auto& [name, value] : settings_)
    if (!read_.contains(name) && name != "format") unknown.push_back("setting " + name);
  const std::string found =
      faults("missing", missing_) + faults("other shapes:", misshapen_) + faults("unknown", unknown);
  GLINT_CHECK(found.empty(), BadModel, "{}: not a network of its architecture{}", file_, found);
}

}  // namespace glint::released
