// The handles of the C interface.
#pragma once

#include "capi/engine.hpp"

#include <atomic>
#include <mutex>

/// What the three handles share: a mark of what they are, and the host's references.
struct glint_handle {
  uint64_t mark;
  std::atomic<int64_t> references = 1;
  explicit glint_handle(uint64_t kind) : mark(kind) {}
};

struct glint_engine : glint_handle {
  static constexpr uint64_t kMark = 0x676c696e74656e67;
  std::shared_ptr<const glint::capi::Engine> body;
  explicit glint_engine(std::shared_ptr<const glint::capi::Engine> engine)
      : glint_handle(kMark), body(std::move(engine)) {}
};

struct glint_session : glint_handle {
  static constexpr uint64_t kMark = 0x676c696e74736573;
  std::shared_ptr<const glint::capi::Engine> engine;
  std::mutex mutex;
  glint::capi::Options options;
  explicit glint_session(std::shared_ptr<const glint::capi::Engine> of)
      : glint_handle(kMark), engine(std::move(of)) {}
};

namespace glint::capi {

/// Returns a session's options as they are now.
inline Options snapshot(glint_session& session) {
  const std::lock_guard lock(session.mutex);
  return session.options;
}

/// Returns the object behind a handle.   Errors: InvalidArgument for null or a pointer to something else.
template <typename Handle>
Handle& object(Handle* handle, std::string_view name) {
  check_given(handle, name);
  GLINT_CHECK(handle->mark == Handle::kMark, InvalidArgument,
              "{}: expected a live {}, got something else or one already released", name, name);
  return *handle;
}

template <typename Handle>
glint_status retain(Handle* handle, std::string_view name) {
  return guarded([&] { ++object(handle, name).references; });
}

/// Takes a reference; null is allowed. The last one calls `end` and deletes the handle.
template <typename Handle, typename End>
glint_status release(Handle* handle, std::string_view name, End end) {
  return guarded([&] {
    if (!handle) return;
    if (--object(handle, name).references > 0) return;
    end(*handle);
    handle->mark = 0;
    delete handle;
  });
}

}  // namespace glint::capi
