// Translates torch's exceptions into ours, keeping the message but not the backtrace.
#pragma once

#include <glint/core/error.hpp>

#include <c10/util/Exception.h>

#include <exception>
#include <new>
#include <string>
#include <utility>

namespace glint::detail {

/// Returns the useful part of an engine's message, without C++ backtrace and interpreter stack.
inline std::string without_backtrace(std::string message) {
  for (const char* mark : {"Exception raised from", "\nframe #", "\nC++ CapturedTraceback"})
    if (const auto at = message.find(mark); at != std::string::npos) message.resize(at);
  // The interpreter puts its own stack first; the cause is the last "RuntimeError: ...".
  if (message.find("TorchScript interpreter") != std::string::npos)
    if (const auto at = message.rfind("RuntimeError: "); at != std::string::npos) message.erase(0, at + 14);
  while (!message.empty() && (message.back() == '\n' || message.back() == ' ' || message.back() == '('))
    message.pop_back();
  return message;
}

/// Whether a message reports failed allocation. The host allocator has no exception type of its own, and
/// TorchScript's interpreter forwards only messages.
inline bool tells_of_memory(const std::string& message) {
  return message.find("DefaultCPUAllocator: can't allocate memory") != std::string::npos ||
         message.find("CUDA out of memory") != std::string::npos;
}

/// Returns `function()`. Rethrows torch's exceptions and out-of-memory as Error(code, "what: message");
/// exceptions from a host's own model or observer pass through.
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

/// Same, but also translates standard exceptions, since a loader's are never meant for the host.
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
