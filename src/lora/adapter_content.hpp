// Adapters from bytes in memory, for callers that verify the bytes first.
#pragma once

#include "io/file.hpp"

#include <glint/lora/adapter.hpp>

#include <filesystem>
#include <memory>
#include <string>

namespace glint::detail {

/// How to read an adapter's content.
struct AdapterContent {
  std::string config = {};  ///< the content of PEFT's adapter_config.json; empty if there is none
  bool partial = false;     ///< AdapterSource::partial
  AdapterWarn warn = {};
};

/// As read_adapter, for a file's content.
AdapterFile parse_adapter(const std::shared_ptr<const FileBytes>& content, const std::string& file,
                          const AdapterContent& options = {});

/// Returns the file with the weights: that in PEFT's folder, or the path itself.
std::filesystem::path adapter_path(const std::filesystem::path& path);

/// Formats keys as "a, b, c and 12 more"; a whole file's would fill the screen.
std::string listed(const std::vector<std::string>& keys);

/// Returns which of the layers do anything at some scale.
std::vector<std::string> keys_with_effect(const std::vector<WeightChange>& changes);

}  // namespace glint::detail
