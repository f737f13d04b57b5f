// Where a bundle's manifest lies.
#pragma once

#include <filesystem>

namespace glint::detail {

/// Returns the path of a bundle's manifest.   Errors: as read_manifest for what is missing.
std::filesystem::path manifest_path(const std::filesystem::path& folder);

}  // namespace glint::detail
