// Where an output's path leads, and whether it can be written, before the work that fills it is done.
#pragma once

#include <glint/export.hpp>

#include <filesystem>

namespace glint {

/// The end of a path's links. The writers of this library replace a regular file as a whole, keeping its mode
/// and the links to it; everything else is written to.
struct OutputTarget {
  std::filesystem::path path;  ///< absolute
  int descriptor = -1;         ///< the open file that /dev/stdout, /dev/fd/N or /proc/self/fd/N names
  bool stream = false;         ///< a pipe, a device or an open file: written to, never replaced
};

/// Follows all links of `path`, whose last part need not exist.
/// Errors:  NotFound if its folder does not exist; InvalidArgument, naming the path, for a folder or a loop
///          of links.
GLINT_API OutputTarget output_target(const std::filesystem::path& path);

/// Throws what writing to `path` would throw, as far as that can be known: a missing folder, a folder or file
/// that may not be written (a file without any write permission counts, also for the superuser).
/// Errors:  as output_target; InvalidArgument, naming the path.
GLINT_API void check_writable(const std::filesystem::path& path);

}  // namespace glint
