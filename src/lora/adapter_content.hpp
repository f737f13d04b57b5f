// Adapters from bytes in memory, for callers that verify the bytes first.
#pragma once

#include "io/file.hpp"

#include <glint/lora/adapter.hpp>

#include <memory>
#include <string>

namespace glint::detail {

/// As read_adapter, for a file's content.
AdapterFile parse_adapter(const std::shared_ptr<const FileBytes>& content, const std::string& file);

}  // namespace glint::detail
