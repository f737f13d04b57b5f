// Includes every public header through the umbrella, calls into the library, and throws across its boundary.
#include <glint/glint.hpp>

#include <cstdio>

int main() {
  std::printf("glint %s, libtorch %s\n", glint::version(), glint::torch_version());
  try {
    glint::fail(glint::ErrorCode::NotFound, "a message from {}", "the consumer");
  } catch (const glint::Error& error) {
    std::printf("%s: %s\n", glint::enum_name(error.code()).data(), error.what());
    return 0;
  }
  return 1;
}
