// The one place where exceptions of other libraries, and of a host's own models and observers, become
// glint::Error. Every public function that may meet them is wrapped in `at_boundary`.
#pragma once

#include <glint/core/error.hpp>

#include <cxxabi.h>

#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
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

/// Whether a message reports failed allocation. The engine's allocators have no common exception type, and
/// TorchScript's interpreter forwards only messages.
inline bool tells_of_memory(const std::string& message) {
  return message.find("DefaultCPUAllocator: ") != std::string::npos ||
         message.find("CUDA out of memory") != std::string::npos;
}

/// Returns `function()`. What it throws leaves as Error(code, "what: message"), or as OutOfMemory where
/// memory was missing; std::rethrow_if_nested gives the original exception. An Error leaves as it is.
template <typename Function>
auto at_boundary(ErrorCode code, const std::string& what, Function&& function) {
  try {
    return std::forward<Function>(function)();
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    std::throw_with_nested(Error(ErrorCode::OutOfMemory, what + ": out of memory"));
  } catch (const std::length_error&) {
    std::throw_with_nested(Error(ErrorCode::OutOfMemory, what + ": more than memory can hold"));
  } catch (const std::system_error& error) {
    std::throw_with_nested(
        Error(code == ErrorCode::Internal ? ErrorCode::Io : code, what + ": " + error.what()));
  } catch (const std::exception& error) {
    const std::string message = without_backtrace(error.what());
    std::throw_with_nested(
        Error(tells_of_memory(message) ? ErrorCode::OutOfMemory : code, what + ": " + message));
#ifdef __GLIBCXX__
  } catch (abi::__forced_unwind&) {
    throw;  // the thread is being ended
#endif
  } catch (...) {
    std::throw_with_nested(Error(code, what + ": an exception that is no std::exception"));
  }
}

}  // namespace glint::detail
