// Where torch's exceptions become ours: the message is kept, the backtrace is not.
#pragma once

#include <glint/core/error.hpp>

#include <c10/util/Exception.h>

#include <exception>
#include <new>
#include <string>
#include <utility>

namespace glint::detail {

/// Returns what a person can use of an engine's message: no C++ backtrace, no interpreter's stack.
inline std::string without_backtrace(std::string message) {
  for (const char* mark : {"Exception raised from", "\nframe #", "\nC++ CapturedTraceback"})
    if (const auto at = message.find(mark); at != std::string::npos) message.resize(at);
  // The interpreter prefixes its own stack; the reason is the last "RuntimeError: ...".
  if (message.find("TorchScript interpreter") != std::string::npos)
    if (const auto at = message.rfind("RuntimeError: "); at != std::string::npos) message.erase(0, at + 14);
  while (!message.empty() && (message.back() == '\n' || message.back() == ' ' || message.back() == '('))
    message.pop_back();
  return message;
}

/// Whether a message is an allocator's. The host's allocator has no exception type of its own, and
/// TorchScript's interpreter passes on messages only.
inline bool tells_of_memory(const std::string& message) {
  return message.find("DefaultCPUAllocator: can't allocate memory") != std::string::npos ||
         message.find("CUDA out of memory") != std::string::npos;
}

/// Returns `function()`. Exceptions of torch, and running out of memory, come out as Error(code, "what:
/// message"); what a host's own model or observer throws passes through.
template <typename Function>
auto engine_errors_translated(ErrorCode code, const std::string& what, Function&& function) {
  try {
    return function();
  } catch (const c10::OutOfMemoryError& error) {
    fail(ErrorCode::OutOfMemory, "{}: {}", what, without_backtrace(error.what_without_backtrace()));
  } catch (const c10::Error& error) {
    const std::string message = without_backtrace(error.what_without_backtrace());
    fail(tells_of_memory(message) ? ErrorCode::OutOfMemory : code, "{}: {}", what, message);
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::OutOfMemory, "{}: out of memory", what);
  }
}

/// The same for exceptions of the standard library too: what a loader throws is never meant for the host.
template <typename Function>
auto translated(ErrorCode code, const std::string& what, Function&& function) {
  try {
    return engine_errors_translated(code, what, std::forward<Function>(function));
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    const std::string message = without_backtrace(error.what());
    fail(tells_of_memory(message) ? ErrorCode::OutOfMemory : code, "{}: {}", what, message);
  }
}

}  // namespace glint::detail
