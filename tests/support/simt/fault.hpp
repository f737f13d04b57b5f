// What the emulator finds wrong with a kernel.
#pragma once

#include <source_location>
#include <stdexcept>
#include <string>

namespace glint::simt {

enum class FaultKind {
  SharedBounds,   ///< shared memory outside what the launch asked for
  GlobalBounds,   ///< global memory outside every allocation, or across the end of one
  Misaligned,     ///< an address that is no multiple of the access's size
  Uninitialized,  ///< a read of memory that nobody wrote
  InFlight,       ///< an access to shared memory that an unfinished asynchronous copy is writing
  Race,           ///< two threads, one of them writing, with no barrier between
  Divergence      ///< a barrier or warp instruction that some threads do not reach
};

inline const char* name(FaultKind kind) {
  constexpr const char* kNames[] = {"SharedBounds", "GlobalBounds", "Misaligned", "Uninitialized",
                                    "InFlight",     "Race",         "Divergence"};
  return kNames[static_cast<int>(kind)];
}

class Fault : public std::runtime_error {
 public:
  Fault(FaultKind kind, const std::string& what)
      : std::runtime_error(std::string(name(kind)) + ": " + what), kind_(kind) {}
  FaultKind kind() const { return kind_; }

 private:
  FaultKind kind_;
};

inline std::string text(const std::source_location& where) {
  const std::string file = where.file_name();
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(where.line());
}

}  // namespace glint::simt
