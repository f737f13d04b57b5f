// Adapters from bytes in memory, for callers that verify the bytes first.
#pragma once

#include "io/file.hpp"

#include <glint/lora/adapter.hpp>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

namespace glint::detail {

/// Is told what is doubtful about a file.
using Warn = std::function<void(const std::string&)>;

/// As read_adapter, for a file's content, and that of PEFT's adapter_config.json unless it is empty.
AdapterFile parse_adapter(const std::shared_ptr<const FileBytes>& content, const std::string& file,
                          const std::string& config = {}, const Warn& warn = {});

/// As read_adapter.
AdapterFile load_adapter(const std::filesystem::path& path, const Warn& warn = {});

/// Returns the file with the weights: that in PEFT's folder, or the path itself.
std::filesystem::path adapter_path(const std::filesystem::path& path);

}  // namespace glint::detail
