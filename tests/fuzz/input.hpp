// Inputs that readers of files take.
#pragma once

#include "io/file.hpp"

#include <glint/core/error.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <string_view>

namespace glint::fuzz {

/// Returns bytes as a file's content, by way of a file that has no name.
inline std::shared_ptr<const detail::FileBytes> content(std::string_view input) {
  const int descriptor = ::memfd_create("fuzz", MFD_CLOEXEC);
  GLINT_CHECK(descriptor >= 0 &&
                  ::write(descriptor, input.data(), input.size()) == static_cast<ssize_t>(input.size()),
              Internal, "memfd_create: no memory for {} bytes", input.size());
  auto file = std::make_shared<const detail::FileBytes>("/proc/self/fd/" + std::to_string(descriptor));
  ::close(descriptor);
  return file;
}

}  // namespace glint::fuzz
